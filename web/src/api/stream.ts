/**
 * Follows a stream of Server-Sent Events: after an interruption it asks for what comes after the last event, so nothing
 * is missed and nothing comes twice. `EventSource` cannot send a token in a header; this can.
 */

import { createParser } from "eventsource-parser";

import { ApiError, BASE, errorOf, headers, unreachable } from "./client";

export interface Received<T> {
  /** What the stream is continued after. */
  id: string;
  data: T;
}

/** `ended`: nothing will follow. */
export type Connection = "connecting" | "connected" | "disconnected" | "ended";

export interface Follower<T> {
  path: string;
  /** The events that arrived within a moment, in order. */
  onEvents: (events: Received<T>[]) => void;
  onConnection: (connection: Connection, error: ApiError | null) => void;
  /** Whether this is the last event of the stream; without it, the stream ends when the server closes it. */
  isLast?: (data: T) => boolean;
}

const TOGETHER = 100; // milliseconds of events that are shown at once, at least
const SHARE = 4; // showing them takes at most one part of so many of the time
const TOGETHER_AT_MOST = 2_000;
const SILENCE = 40_000; // the server sends a comment every 15 s
const WAITS = [250, 500, 1_000, 2_000, 4_000];

/** Whether asking again cannot help. */
const isPermanent = (error: ApiError): boolean => [400, 401, 403, 404, 422].includes(error.status);

/** Follow until the stream ends or the returned function is called. */
export function follow<T>({ path, onEvents, onConnection, isLast }: Follower<T>): () => void {
  const stopped = new AbortController();
  let cursor: string | null = null;
  let waiting: Received<T>[] = [];
  let timer: ReturnType<typeof setTimeout> | undefined;
  let pause = TOGETHER;
  let hasEnded = false;
  let isShutdown = false;

  const isStopped = (): boolean => stopped.signal.aborted;

  const flush = (): void => {
    clearTimeout(timer);
    timer = undefined;
    if (waiting.length > 0 && !isStopped()) {
      const events = waiting;
      waiting = [];
      const began = performance.now();
      onEvents(events);
      requestAnimationFrame(() => {
        setTimeout(() => {
          pause = Math.min(TOGETHER_AT_MOST, Math.max(TOGETHER, (performance.now() - began) * (SHARE - 1)));
        });
      });
    }
  };

  const take = (id: string | undefined, text: string): void => {
    const data = JSON.parse(text) as T;
    if (id === undefined) {
      isShutdown = true; // the next connection continues
      return;
    }
    cursor = id;
    hasEnded = isLast?.(data) ?? false;
    waiting.push({ id: cursor, data });
    timer ??= setTimeout(flush, pause);
  };

  const connect = async (): Promise<boolean> => {
    const silent = new AbortController();
    let watchdog = setTimeout(() => silent.abort(), SILENCE);
    try {
      const response = await fetch(`${BASE}${path}`, {
        headers: { ...headers(), Accept: "text/event-stream", ...(cursor === null ? {} : { "Last-Event-ID": cursor }) },
        signal: AbortSignal.any([stopped.signal, silent.signal]),
        cache: "no-store",
      });
      if (response.status === 204) return true;
      if (!response.ok || response.body === null) throw await errorOf(response);
      onConnection("connected", null);
      isShutdown = false;
      const parser = createParser({ onEvent: (event) => take(event.id, event.data) });
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return hasEnded || (isLast === undefined && !isShutdown);
        clearTimeout(watchdog);
        watchdog = setTimeout(() => silent.abort(), SILENCE);
        parser.feed(value);
      }
    } finally {
      clearTimeout(watchdog);
      flush();
    }
  };

  const run = async (): Promise<void> => {
    onConnection("connecting", null);
    for (let failures = 0; !isStopped(); ) {
      const before: string | null = cursor;
      let error: ApiError | null = null;
      try {
        if (await connect()) {
          onConnection("ended", null);
          return;
        }
      } catch (cause) {
        if (isStopped()) return;
        error = cause instanceof ApiError ? cause : unreachable(cause);
      }
      failures = cursor !== before ? 0 : failures + 1;
      onConnection("disconnected", error);
      if (error !== null && isPermanent(error)) return;
      await new Promise((resolve) => setTimeout(resolve, WAITS[Math.min(failures, WAITS.length - 1)]));
    }
  };

  void run();
  return () => {
    stopped.abort();
    clearTimeout(timer);
  };
}
