/**
 * One stream for all pages of a browser: it asks for what they want together and tells each what it wants. A page that
 * begins to follow a task later, or further back, makes it connect again; the others skip what they have received.
 */

import type { Failure } from "./errors";
import { follow, numbered, type Connection, type Follower, type Received } from "./stream";
import type { components } from "./schema";

export type LiveEvent = components["schemas"]["LiveEvent"];

/** The tasks that are followed, each with the number of the last event that was received; and whether their list is. */
export interface Want {
  follow: Readonly<Record<string, number>>;
  lists: boolean;
}

export type Told =
  | { kind: "events"; events: Received<LiveEvent>[] }
  | { kind: "connection"; connection: Connection; failure: Failure | null };

/** A page. */
export interface Port {
  tell: (told: Told) => void;
}

export const NOTHING: Want = { follow: {}, lists: false };

const isNothing = ({ follow, lists }: Want): boolean => !lists && Object.keys(follow).length === 0;

/** All that several pages want: each task from the earliest number. */
export function together(wants: Iterable<Want>): Want {
  const all: Record<string, number> = {};
  let lists = false;
  for (const want of wants) {
    lists ||= want.lists;
    for (const [id, after] of Object.entries(want.follow)) all[id] = Math.min(all[id] ?? after, after);
  }
  return { follow: all, lists };
}

export class Hub {
  private readonly wants = new Map<Port, { follow: Record<string, number>; lists: boolean }>();
  private cursors: Record<string, number> = {};
  private lists = false;
  private close: (() => void) | null = null;
  private isChanging = false;
  private connection: Told & { kind: "connection" } = { kind: "connection", connection: "connecting", failure: null };

  /** `base` is where the API begins, with a slash at its end. */
  constructor(
    private readonly base: string,
    private readonly headers: Record<string, string>,
    private readonly open: (follower: Follower<LiveEvent>) => () => void = follow,
  ) {}

  /** Begin to tell a page what it wants, or change it. */
  want(port: Port, want: Want): void {
    if (!this.wants.has(port)) port.tell(this.connection);
    this.wants.set(port, { follow: { ...want.follow }, lists: want.lists });
    this.change();
  }

  leave(port: Port): void {
    if (this.wants.delete(port)) this.change();
  }

  /** Connect again, if something is wanted that does not come; once for all changes of a moment. */
  private change(): void {
    if (this.isChanging) return;
    this.isChanging = true;
    setTimeout(() => {
      this.isChanging = false;
      const wanted = together(this.wants.values());
      if (this.close !== null && this.comes(wanted)) return;
      this.close?.();
      this.close = null;
      this.cursors = { ...wanted.follow };
      this.lists = wanted.lists;
      if (!isNothing(wanted)) this.close = this.open(this.follower());
    });
  }

  private comes({ follow, lists }: Want): boolean {
    const ids = Object.keys(follow);
    const isSame = lists === this.lists && ids.length === Object.keys(this.cursors).length;
    return isSame && ids.every((id) => (follow[id] ?? 0) >= (this.cursors[id] ?? Infinity));
  }

  private follower(): Follower<LiveEvent> {
    return {
      request: () => {
        const query = new URLSearchParams(Object.entries(this.cursors).map(([id, after]) => ["follow", `${id}:${after}`]));
        if (this.lists) query.set("tasks", "true");
        return { url: `${this.base}api/v1/epoch-training/stream?${query.toString()}`, headers: this.headers };
      },
      onEvent: (event) => this.take(event),
      onConnection: (connection, error) => this.connected(connection, error),
    };
  }

  private connected(connection: Connection, error: Failure | null): void {
    if (connection === "connecting") return; // the pages know it, or are still served by the last connection
    if (error !== null && error.status !== 0 && error.status < 500) this.close = null; // the next wish tries again
    const failure = error && { status: error.status, code: error.code, message: error.message };
    this.connection = { kind: "connection", connection, failure };
    for (const port of this.wants.keys()) port.tell(this.connection);
  }

  private take(event: Received<LiveEvent>): void {
    const [id, number] = event.id === null ? [null, 0] : numbered(event.id);
    if (id !== null) this.cursors[id] = number;
    const data = event.data;
    for (const [port, want] of this.wants) {
      if (id !== null) {
        if (number <= (want.follow[id] ?? Infinity)) continue;
        want.follow[id] = number;
      } else if (data.type === "activity" ? !(data.task_id in want.follow) : !want.lists && data.type === "tasks") {
        continue;
      }
      port.tell({ kind: "events", events: [event] });
    }
  }
}
