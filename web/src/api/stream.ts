/**
 * Follows a stream of Server-Sent Events: after an interruption it asks for what comes after the last event, so nothing
 * is missed and nothing comes twice. Unlike `EventSource` it can send headers, and it notices a silent connection.
 * Without anything of a page: a worker uses it too.
 */

import { createParser } from "eventsource-parser";

import { ApiError, refusal, unreachable } from "./errors";

export interface Received<T> {
  /** What the stream is continued after; null for a message that is not part of the log. */
  id: string | null;
  data: T;
}

/** `ended`: nothing will follow. */
export type Connection = "connecting" | "connected" | "disconnected" | "ended";

export interface Follower<T> {
  /** What each connection asks for; `cursor` is the id of the last event, at first `after`. */
  request: (cursor: string | null) => { url: string; headers: Record<string, string> };
  after?: string | null;
  onEvent: (event: Received<T>) => void;
  onConnection: (connection: Connection, error: ApiError | null) => void;
  /** Whether the server's closing of the stream is its end. */
  isFinite?: boolean;
}

/** Task and number of an id of an event of several tasks. */
export function numbered(id: string): [string, number] {
  const at = id.lastIndexOf(":");
  return [id.slice(0, at), Number(id.slice(at + 1))];
}

const SILENCE = 40_000; // the server sends a comment every 15 s
const WAITS = [250, 500, 1_000, 2_000, 4_000];

/** Whether asking again cannot help. */
const isPermanent = (error: ApiError): boolean => [400, 401, 403, 404, 422].includes(error.status);

/** Follow until the stream ends, the server refuses it, or the returned function is called. */
export function follow<T>({ request, after = null, onEvent, onConnection, isFinite = false }: Follower<T>): () => void {
  const stopped = new AbortController();
  let cursor = after;
  let received = 0;
  let isShutdown = false;

  const isStopped = (): boolean => stopped.signal.aborted;

  const take = (id: string | undefined, text: string): void => {
    const data = JSON.parse(text) as T & { type?: string };
    received += 1;
    if (data.type === "server_shutdown") {
      isShutdown = true; // the next connection continues
      return;
    }
    cursor = id ?? cursor;
    onEvent({ id: id ?? null, data });
  };

  const connect = async (): Promise<boolean> => {
    const silent = new AbortController();
    let watchdog = setTimeout(() => silent.abort(), SILENCE);
    try {
      const { url, headers } = request(cursor);
      const response = await fetch(url, {
        headers: { ...headers, Accept: "text/event-stream" },
        signal: AbortSignal.any([stopped.signal, silent.signal]),
        cache: "no-store",
      });
      if (response.status === 204) return true;
      if (!response.ok || response.body === null) throw await refusal(response);
      onConnection("connected", null);
      isShutdown = false;
      const parser = createParser({ onEvent: (event) => take(event.id, event.data) });
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (isStopped()) return false;
        if (done) return isFinite && !isShutdown;
        clearTimeout(watchdog);
        watchdog = setTimeout(() => silent.abort(), SILENCE);
        parser.feed(value);
      }
    } finally {
      clearTimeout(watchdog);
    }
  };

  const run = async (): Promise<void> => {
    onConnection("connecting", null);
    for (let failures = 0; !isStopped(); ) {
      const before = received;
      let error: ApiError | null = null;
      try {
        if (await connect()) {
          onConnection("ended", null);
          return;
        }
      } catch (cause) {
        error = cause instanceof ApiError ? cause : unreachable(cause);
      }
      if (isStopped()) return;
      failures = received !== before ? 0 : failures + 1;
      onConnection("disconnected", error);
      if (error !== null && isPermanent(error)) return;
      await new Promise((resolve) => setTimeout(resolve, WAITS[Math.min(failures, WAITS.length - 1)]));
    }
  };

  void run();
  return () => stopped.abort();
}

const TOGETHER = 30; // milliseconds of events that are shown at once, at least
const REST = 600; // milliseconds between two times that something is shown, at least: nobody reads faster
const SHARE = 4; // showing takes at most one part of so many of the time
const REST_AT_MOST = 2_000;

/** Gathers what arrives and shows it together: soon if it has been quiet, and else so that it takes a limited share of the time. */
export function gathered<T>(show: (items: T[]) => void): { add: (item: T) => void; flush: () => void } {
  let waiting: T[] = [];
  let timer: ReturnType<typeof setTimeout> | undefined;
  let next = 0;
  const flush = (): void => {
    clearTimeout(timer);
    timer = undefined;
    if (waiting.length === 0) return;
    const items = waiting;
    waiting = [];
    const began = performance.now();
    next = began + REST;
    show(items);
    setTimeout(() => {
      next = began + Math.min(REST_AT_MOST, Math.max(REST, (performance.now() - began) * SHARE));
    });
  };
  return {
    add: (item) => {
      waiting.push(item);
      timer ??= setTimeout(flush, Math.max(TOGETHER, next - performance.now()));
    },
    flush,
  };
}
