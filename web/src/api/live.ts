/**
 * What changes on the server, as it changes: the events of tasks and the list of tasks. All pages of a browser share one
 * connection in a worker (`hub.worker.ts`); a browser without shared workers has one in each page.
 */

import { currentLanguage, onLanguage } from "../language/language";
import { BASE, session } from "./client";
import { ApiError } from "./errors";
import type { LiveEvent, Port, Told, Want } from "./hub";
import type { Asked, Named } from "./hub.worker";
import { numbered, type Connection, type Received } from "./stream";

const ALIVE = 30_000;

export interface Listener {
  /** The task that is followed, after the event with this number. */
  task?: { id: string; after: number };
  /** Whether changes of the list of tasks are wanted. */
  lists?: boolean;
  onEvent: (event: Received<LiveEvent>) => void;
  onConnection?: (connection: Connection, error: ApiError | null) => void;
}

interface Line {
  ask: (asked: Asked) => void;
  close: () => void;
}

const listeners = new Set<Listener>();
let line: Line | null = null;
let isAsking = false;
let last: Told & { kind: "connection" } = { kind: "connection", connection: "connecting", failure: null };

/** Listen until the returned function is called. */
export function listen(listener: Listener): () => void {
  const own = listener.task === undefined ? listener : { ...listener, task: { ...listener.task } };
  listeners.add(own);
  if (line !== null) own.onConnection?.(last.connection, last.failure && ApiError.of(last.failure));
  ask();
  return () => {
    listeners.delete(own);
    ask();
  };
}

/** What all listeners of this page want. */
function wanted(): Want {
  const follow: Record<string, number> = {};
  for (const { task } of listeners) if (task !== undefined) follow[task.id] = Math.min(follow[task.id] ?? task.after, task.after);
  return { follow, lists: [...listeners].some(({ lists }) => lists === true) };
}

/** Tell the hub what is wanted now; once for all changes of a moment. */
function ask(): void {
  if (isAsking) return;
  isAsking = true;
  setTimeout(() => {
    isAsking = false;
    if (line === null && listeners.size === 0) return;
    line ??= connect();
    line.ask({ kind: "want", want: wanted() });
  });
}

function told(message: Told): void {
  if (message.kind === "connection") {
    last = message;
    if (message.failure?.status === 401) void session.refresh();
    const error = message.failure && ApiError.of(message.failure);
    for (const { onConnection } of listeners) onConnection?.(message.connection, error);
    return;
  }
  for (const event of message.events) for (const listener of listeners) if (concerns(listener, event)) listener.onEvent(event);
}

/** Whether a listener has not received an event that it wants; notes that it has now. */
function concerns({ task, lists }: Listener, { id, data }: Received<LiveEvent>): boolean {
  if (data.type === "tasks") return lists === true;
  if (data.type === "removed") return lists === true || (task !== undefined && data.task_ids.includes(task.id));
  if (task === undefined || !("task_id" in data) || data.task_id !== task.id) return false;
  if (id === null) return true;
  const [, number] = numbered(id);
  if (number <= task.after) return false;
  task.after = number;
  return true;
}

function connect(): Line {
  const named: Named = { base: BASE, language: currentLanguage() };
  if (!("SharedWorker" in window)) return alone(named);
  const worker = new SharedWorker(new URL("./hub.worker.ts", import.meta.url), { type: "module", name: JSON.stringify(named) });
  const { port } = worker;
  port.onmessage = ({ data }: MessageEvent<Told>) => told(data);
  const alive = setInterval(() => port.postMessage({ kind: "alive" } satisfies Asked), ALIVE);
  const opened: Line = {
    ask: (asked) => port.postMessage(asked),
    close: () => {
      clearInterval(alive);
      port.postMessage({ kind: "leave" } satisfies Asked);
      port.close();
    },
  };
  worker.onerror = () => {
    clearInterval(alive);
    if (line === opened) line = alone(named);
    ask();
  };
  return opened;
}

/** A hub in this page. */
function alone({ base, language }: Named): Line {
  const port: Port = { tell: told };
  const hub = import("./hub").then(({ Hub }) => new Hub(`${location.origin}${base}`, { "Accept-Language": language }));
  return {
    ask: (asked) => void hub.then((it) => (asked.kind === "want" ? it.want(port, asked.want) : asked.kind === "leave" && it.leave(port))),
    close: () => void hub.then((it) => it.leave(port)),
  };
}

function reconnect(): void {
  line?.close();
  line = null;
  ask();
}

// A page in the browser's cache for going back is not told anything; it asks for what it missed when it is shown again.
addEventListener("pagehide", () => {
  line?.close();
  line = null;
});
addEventListener("pageshow", ({ persisted }) => {
  if (persisted) ask();
});
onLanguage(reconnect);
session.subscribe(() => {
  if (session.current().access === "open") ask();
});
