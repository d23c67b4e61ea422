/**
 * What a task's page knows of its training, from the events of its stream: rows by epoch, marks and state. The stream
 * begins with the whole log, so there is nothing else to fetch; each event is applied once, by its number.
 */

import type { Schemas } from "../api/client";
import type { State } from "../api/queries";
import type { Received } from "../api/stream";

export type Event = Exclude<Schemas["TrainingEvent"], Schemas["ShutdownEvent"]>;
export type Row = Readonly<Record<string, number | null>> & { readonly epoch: number };
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

export interface Curves {
  /** In the order of epochs, without repeated ones. */
  rows: readonly Row[];
  marks: readonly Mark[];
  notes: readonly Note[];
  state: State | null;
  totalEpochs: number | null;
  bestEpoch: number | null;
  trainingRows: number | null;
  /** The number of the last event that was applied. */
  cursor: number;
  /** How often the state has changed: what the task's details depend on. */
  changes: number;
}

export const EMPTY: Curves = {
  rows: [],
  marks: [],
  notes: [],
  state: null,
  totalEpochs: null,
  bestEpoch: null,
  trainingRows: null,
  cursor: 0,
  changes: 0,
};

const KEPT_NOTES = 200;

/** The curves after these events; those that were applied before are skipped. */
export function applied(before: Curves, events: readonly Received<Event>[]): Curves {
  const next = { ...before, rows: [...before.rows], marks: [...before.marks], notes: [...before.notes] };
  for (const { id, data } of events) {
    if (Number(id) <= next.cursor) continue;
    next.cursor = Number(id);
    apply(next, data);
  }
  next.notes = next.notes.slice(-KEPT_NOTES);
  return next;
}

type Draft = { -readonly [K in keyof Curves]: Curves[K] extends readonly (infer T)[] ? T[] : Curves[K] };

function apply(curves: Draft, event: Event): void {
  const epoch = curves.rows.at(-1)?.epoch ?? 0;
  switch (event.type) {
    case "progress":
      insert(curves.rows, event.progress.latest_metrics as unknown as Row | null);
      curves.totalEpochs = event.progress.total_epochs;
      curves.bestEpoch = event.progress.best_metrics?.epoch ?? null;
      return;
    case "state":
      applyState(curves, event, epoch);
      return;
    case "rollback":
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
  curves.changes += 1;
}

function applyState(curves: Draft, event: Schemas["StateEvent"], epoch: number): void {
  const wasPaused = curves.marks.at(-1)?.kind === "pause";
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
  }
  curves.state = event.state;
  curves.changes += 1;
}

/** Put a row at the place of its epoch: at the end, unless an epoch is repeated after a crash. */
function insert(rows: Row[], row: Row | null): void {
  if (row === null) return;
  const last = rows.at(-1);
  if (last === undefined || last.epoch < row.epoch) {
    rows.push(row);
    return;
  }
  const at = rows.findIndex((one) => one.epoch >= row.epoch);
  rows.splice(at, rows[at]?.epoch === row.epoch ? 1 : 0, row);
}

/** Whether epochs are missing, which a slow connection can cause; the history has them. */
export function hasHoles(curves: Curves): boolean {
  const first = curves.rows[0];
  const last = curves.rows.at(-1);
  return first !== undefined && last !== undefined && last.epoch - first.epoch + 1 !== curves.rows.length;
}

/** The curves with the rows of the history in their holes. */
export function filled(curves: Curves, history: readonly Row[]): Curves {
  const rows = [...history];
  for (const row of curves.rows) insert(rows, row);
  return { ...curves, rows };
}

/** One metric, and the fields of rows that have it: of the training rows, of the validation rows, or of both. */
export interface Group {
  name: string;
  train: string | null;
  validation: string | null;
}

const ORDER = ["loss", "accuracy", "r2", "auc", "f1", "rmse", "mae"];
const APART = new Set(["epoch", "learning_rate", "time_per_epoch"]);

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

/** How fast it trains, from the median of the last epochs: one slow epoch changes nothing. */
export function pace(curves: Curves): Pace {
  const times = curves.rows
    .slice(-RECENT)
    .map((row) => row.time_per_epoch ?? 0)
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
