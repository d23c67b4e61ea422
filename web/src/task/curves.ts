/**
 * What a page knows of a training: rows by epoch, marks and state. It begins with the curves that the server has at that
 * moment, in as many rows as a chart has room for, and goes on with the events of the stream; each is applied once.
 */

import type { Schemas } from "../api/client";
import type { State } from "../api/queries";
import type { LiveEvent } from "../api/hub";
import { numbered, type Received } from "../api/stream";
import { EVERY, thinned, type Row, type Thinned } from "./thinning";

export type { Row } from "./thinning";
export type Event = Exclude<Schemas["TrainingEvent"], Schemas["ShutdownEvent"]>;
export type Activity = Schemas["Activity"];
export type MarkKind = "pause" | "resume" | "restart" | "changed" | "rollback" | "early" | "cancelled" | "failed" | "best";

/** Something that happened after an epoch. */
export interface Mark {
  epoch: number;
  kind: MarkKind;
  detail: string;
}

export interface Note {
  level: string;
  message: string;
}

export interface Curves extends Thinned {
  marks: readonly Mark[];
  notes: readonly Note[];
  state: State | null;
  totalEpochs: number | null;
  bestEpoch: number | null;
  trainingRows: number | null;
  /** What it does at this moment; null unless it is running. */
  activity: Activity | null;
  /** The number of the last event that was applied. */
  cursor: number;
  /** How often the state has changed: what the task's details depend on. */
  changes: number;
  /** Whether rows are missing or belong to discarded epochs, so that the curves have to be asked for again. */
  hasHoles: boolean;
}

export const EMPTY: Curves = {
  ...EVERY,
  marks: [],
  notes: [],
  state: null,
  totalEpochs: null,
  bestEpoch: null,
  trainingRows: null,
  activity: null,
  cursor: 0,
  changes: 0,
  hasHoles: false,
};

/** How many rows the server is asked for, and how many more may follow before they are reduced. */
export const POINTS = 2_000;
const KEPT_NOTES = 200;

type Draft = { -readonly [K in keyof Curves]: Curves[K] extends readonly (infer T)[] ? T[] : Curves[K] };

/** The curves of an answer of the server; `changes` go on counting from those before. */
export function loaded(answer: Schemas["CurvesOf"], before: Curves): Curves {
  const curves: Draft = {
    ...EMPTY,
    rows: answer.rows as unknown as Row[],
    bucket: answer.bucket,
    missing: answer.missing,
    totalEpochs: answer.total_epochs,
    bestEpoch: answer.best_epoch,
    activity: before.activity,
    cursor: answer.last_seq,
    changes: before.changes,
    marks: [],
    notes: [],
  };
  for (const { event, epoch } of answer.events) apply(curves, event as Event, epoch);
  curves.changes = before.changes + (curves.state === before.state ? 0 : 1);
  curves.hasHoles = false;
  return { ...curves, notes: curves.notes.slice(-KEPT_NOTES) };
}

/** The curves after what has arrived; events that were applied before are skipped. */
export function applied(before: Curves, received: readonly Received<LiveEvent>[]): Curves {
  const next: Draft = { ...before, rows: [...before.rows], marks: [...before.marks], notes: [...before.notes] };
  for (const { id, data } of received) {
    if (data.type === "activity" && next.state === "running") next.activity = data.activity;
    if (id === null || data.type === "activity" || data.type === "tasks" || data.type === "removed" || data.type === "server_shutdown") continue;
    const [, number] = numbered(id);
    if (number <= next.cursor) continue;
    next.cursor = number;
    apply(next, data, next.rows.at(-1)?.epoch ?? 0);
  }
  const { rows, bucket, missing } = next.rows.length > 2 * POINTS ? thinned(next, POINTS) : next;
  return { ...next, rows, bucket, missing, notes: next.notes.slice(-KEPT_NOTES) };
}

/** `epoch` is the number of epochs that were complete. */
function apply(curves: Draft, event: Event, epoch: number): void {
  switch (event.type) {
    case "progress":
      insert(curves, event.progress.latest_metrics as unknown as Row | null);
      curves.totalEpochs = event.progress.total_epochs;
      curves.bestEpoch = event.progress.best_metrics?.epoch ?? null;
      return;
    case "state":
      applyState(curves, event, epoch);
      return;
    case "rollback":
      // A row of several epochs may contain discarded ones.
      curves.hasHoles ||= curves.bucket > 1;
      curves.rows = curves.rows.filter((row) => row.epoch <= event.epoch);
      curves.marks.push({ epoch: event.epoch, kind: "rollback", detail: event.message });
      return;
    case "log":
      curves.notes.push({ level: event.level, message: event.message });
      return;
    case "complete":
      if (event.summary.stopped_early === true) curves.marks.push({ epoch, kind: "early", detail: "" });
      curves.bestEpoch = event.summary.best_epoch ?? curves.bestEpoch;
      end(curves, "completed");
      return;
    case "failed":
      curves.marks.push({ epoch, kind: "failed", detail: event.error?.message ?? "" });
      end(curves, "failed");
      return;
    case "cancelled":
      curves.marks.push({ epoch, kind: "cancelled", detail: "" });
      end(curves, "cancelled");
      return;
    case "checkpoint":
      return;
  }
}

function end(curves: Draft, state: State): void {
  curves.state = state;
  curves.activity = null;
  curves.changes += 1;
}

function applyState(curves: Draft, event: Schemas["StateEvent"], epoch: number): void {
  const wasPaused = curves.marks.findLast(({ kind }) => kind === "pause" || kind === "resume" || kind === "restart")?.kind === "pause";
  if (event.started) {
    const rows = event.started.rows as { train?: number } | undefined;
    curves.trainingRows = rows?.train ?? null;
  } else if (event.state === "paused") {
    curves.marks.push({ epoch, kind: "pause", detail: event.reason ?? "" });
  } else if (event.state === "running" && wasPaused) {
    curves.marks.push({ epoch, kind: "resume", detail: "" });
  } else if (event.state === "pending" && event.crash) {
    curves.marks.push({ epoch, kind: "restart", detail: event.crash.message });
  }
  if (event.changes && Object.keys(event.changes).length > 0) {
    const changed = Object.entries(event.changes).map(([name, [old, now]]) => `${name}: ${String(old)} → ${String(now)}`);
    curves.marks.push({ epoch, kind: "changed", detail: changed.join(", ") });
    const epochs: unknown = event.changes.epochs?.[1];
    if (typeof epochs === "number") curves.totalEpochs = epochs;
  }
  curves.state = event.state;
  if (event.state !== "running") curves.activity = null;
  curves.changes += 1;
}

/** Put a row at the place of its epoch: at the end, unless an epoch is repeated after a crash. */
function insert(curves: Draft, row: Row | null): void {
  if (row === null) return;
  const { rows } = curves;
  const last = rows.at(-1);
  if (last !== undefined && row.epoch <= last.epoch) {
    const at = rows.findIndex((one) => one.epoch >= row.epoch);
    const replaced = rows[at];
    curves.hasHoles ||= curves.bucket > 1 && replaced?.epoch !== row.epoch;
    if (replaced?.epoch === row.epoch) rows.splice(at, 1, { ...row, elapsed_seconds: replaced.elapsed_seconds ?? 0 });
    return;
  }
  curves.hasHoles ||= last !== undefined && row.epoch > last.epoch + 1;
  rows.push({ ...row, elapsed_seconds: (last?.elapsed_seconds ?? 0) + (row.time_per_epoch ?? 0) });
}

/** One metric, and the fields of rows that have it: of the training rows, of the validation rows, or of both. */
export interface Group {
  name: string;
  train: string | null;
  validation: string | null;
}

const ORDER = ["loss", "accuracy", "r2", "auc", "f1", "rmse", "mae"];
const APART = new Set(["epoch", "learning_rate", "time_per_epoch", "elapsed_seconds"]);

/** The metrics of the rows, the loss first and then those that `preferred` and convention put first. */
export function groups(rows: readonly Row[], preferred: string): Group[] {
  const names = new Set<string>();
  for (const row of rows.length > 0 ? [rows[0], rows.at(-1)] : []) {
    for (const key of Object.keys(row ?? {})) if (!APART.has(key)) names.add(key);
  }
  const metrics = new Set([...names].map((name) => name.replace(/^(train|val)_/, "")));
  const order = ["loss", preferred, ...ORDER];
  const rank = (name: string): number => (order.includes(name) ? order.indexOf(name) : order.length);
  return [...metrics]
    .sort((a, b) => rank(a) - rank(b))
    .map((name) => ({ name, train: measured(rows, names, `train_${name}`), validation: measured(rows, names, `val_${name}`) }))
    .filter(({ train, validation }) => train !== null || validation !== null);
}

/** The field, if some row has a value in it. */
function measured(rows: readonly Row[], names: Set<string>, key: string): string | null {
  return names.has(key) && rows.some((row) => typeof row[key] === "number") ? key : null;
}

/** The values of a field, one for each row. */
export function column(rows: readonly Row[], key: string): (number | null)[] {
  return rows.map((row) => row[key] ?? null);
}

export interface Pace {
  secondsPerEpoch: number | null;
  rowsPerSecond: number | null;
  secondsLeft: number | null;
}

const RECENT = 20;

/** How fast it trains, from the median of the last rows: one slow epoch changes nothing. */
export function pace(curves: Curves): Pace {
  const recent = curves.rows.slice(-RECENT - 1);
  const times = recent
    .map((row, at) => {
      const before = recent[at - 1];
      if (before === undefined) return row.epoch === 1 ? (row.time_per_epoch ?? 0) : 0;
      return ((row.elapsed_seconds ?? 0) - (before.elapsed_seconds ?? 0)) / (row.epoch - before.epoch);
    })
    .filter((seconds) => seconds > 0)
    .sort((a, b) => a - b);
  const median = times[Math.floor(times.length / 2)] ?? null;
  const left = (curves.totalEpochs ?? 0) - (curves.rows.at(-1)?.epoch ?? 0);
  return {
    secondsPerEpoch: median,
    rowsPerSecond: median === null || curves.trainingRows === null ? null : curves.trainingRows / median,
    secondsLeft: median === null || curves.state !== "running" ? null : median * left,
  };
}
