import { describe, expect, test } from "vitest";

import type { Schemas } from "../api/client";
import { applied, column, EMPTY, groups, loaded, pace, POINTS, type Curves, type Event, type Row } from "./curves";
import { thinned } from "./thinning";

const row = (epoch: number, more: Record<string, number | null> = {}): Row => ({
  epoch,
  train_loss: 1 / epoch,
  val_loss: 2 / epoch,
  learning_rate: 0.001,
  time_per_epoch: 0.5,
  ...more,
});

const progress = (epoch: number, more: Record<string, number | null> = {}): object => ({
  type: "progress",
  progress: { current_epoch: epoch, total_epochs: 10, training_state: "running", latest_metrics: row(epoch, more), best_metrics: { epoch: 1, loss: 1, accuracy: 1 } },
});

/** The curves after these events, numbered from 1. */
function after(...events: object[]): Curves {
  return applied(EMPTY, events.map((data, at) => ({ id: String(at + 1), data: data as Event })));
}

const answer = (rows: readonly Row[], more: Partial<Schemas["CurvesOf"]> = {}): Schemas["CurvesOf"] => ({
  success: true,
  task_id: "t",
  rows: rows.map((one, at) => ({ ...one, elapsed_seconds: (at + 1) / 2 })) as never,
  bucket: 1,
  missing: {},
  first: 1,
  last: rows.at(-1)?.epoch ?? 0,
  total_epochs: 10,
  best_epoch: null,
  events: [],
  last_seq: 0,
  ...more,
});

const epochs = (curves: Curves): number[] => curves.rows.map(({ epoch }) => epoch);

describe("events", () => {
  test("each epoch becomes a row", () => {
    const curves = after({ type: "state", state: "running" }, progress(1), progress(2));
    expect(epochs(curves)).toEqual([1, 2]);
    expect(curves).toMatchObject({ state: "running", totalEpochs: 10, bestEpoch: 1, cursor: 3 });
  });

  test("an event that comes twice is applied once", () => {
    const once = after(progress(1), progress(2));
    const twice = applied(once, [{ id: "2", data: progress(2) as Event }, { id: "3", data: progress(3) as Event }]);
    expect(epochs(twice)).toEqual([1, 2, 3]);
  });

  test("an epoch that is repeated after a crash replaces the older row", () => {
    const curves = after(progress(1), progress(2), progress(3), progress(2, { val_loss: 7 }));
    expect(epochs(curves)).toEqual([1, 2, 3]);
    expect(curves.rows[1]?.val_loss).toBe(7);
  });

  test("a rollback discards the later epochs and leaves a mark", () => {
    const curves = after(progress(1), progress(2), progress(3), { type: "rollback", epoch: 1, learning_rate: 0.1, message: "NaN" });
    expect(epochs(curves)).toEqual([1]);
    expect(curves.marks).toEqual([{ epoch: 1, kind: "rollback", detail: "NaN" }]);
  });

  test("a pause and what follows it are marks after their epoch", () => {
    const curves = after(progress(1), { type: "state", state: "paused" }, { type: "state", state: "pending", changes: { epochs: [10, 20] } }, { type: "state", state: "running" }, progress(2));
    expect(curves.marks.map(({ kind, epoch, detail }) => [kind, epoch, detail])).toEqual([
      ["pause", 1, ""],
      ["changed", 1, "epochs: 10 → 20"],
      ["resume", 1, ""],
    ]);
    expect(after(progress(1), { type: "state", state: "pending", changes: { epochs: [10, 20] } }).totalEpochs).toBe(20);
  });

  test("a crash is a mark with its message", () => {
    const crash = { code: "crashed", message: "killed", attempt: 1, strikes: 1 };
    expect(after(progress(3), { type: "state", state: "pending", crash }).marks).toEqual([{ epoch: 3, kind: "restart", detail: "killed" }]);
  });

  test("the end says whether it stopped early", () => {
    const curves = after(progress(1), { type: "complete", summary: { stopped_early: true, best_epoch: 1 }, progress: {}, artifact: null });
    expect(curves.state).toBe("completed");
    expect(curves.marks).toEqual([{ epoch: 1, kind: "early", detail: "" }]);
  });

  test("curves that were given stay as they were", () => {
    const before = after(progress(1));
    applied(before, [{ id: "2", data: progress(2) as Event }]);
    expect(epochs(before)).toEqual([1]);
  });
});

describe("holes", () => {
  test("missing epochs are noticed, and gone when the curves are asked for again", () => {
    const curves = after(progress(1), progress(4));
    expect(curves.hasHoles).toBe(true);
    const whole = loaded(answer([row(1), row(2), row(3), row(4)], { last_seq: 9 }), curves);
    expect(epochs(whole)).toEqual([1, 2, 3, 4]);
    expect(whole).toMatchObject({ hasHoles: false, cursor: 9 });
  });

  test("a continued training that begins late has none", () => expect(after(progress(5), progress(6)).hasHoles).toBe(false));

  test("a rollback into a row of several epochs is one", () => {
    const before = loaded(answer([row(1), row(5), row(6)], { bucket: 5 }), EMPTY);
    expect(applied(before, [{ id: "t:1", data: { type: "rollback", task_id: "t", epoch: 3, learning_rate: 0.1, message: "" } }]).hasHoles).toBe(true);
  });
});

describe("what the server has", () => {
  test("is the beginning: rows, marks at their epochs, notes and state", () => {
    const events = [
      { seq: 1, epoch: 0, event: { type: "state", task_id: "t", state: "running", started: { rows: { train: 90 } } } },
      { seq: 4, epoch: 2, event: { type: "state", task_id: "t", state: "paused" } },
      { seq: 5, epoch: 2, event: { type: "log", task_id: "t", level: "warning", message: "hot" } },
    ];
    const curves = loaded(answer([row(1), row(2)], { events: events as never, last_seq: 5, best_epoch: 2 }), EMPTY);
    expect(curves).toMatchObject({ state: "paused", trainingRows: 90, cursor: 5, bestEpoch: 2, totalEpochs: 10 });
    expect(curves.marks).toEqual([{ epoch: 2, kind: "pause", detail: "" }]);
    expect(curves.notes).toEqual([{ level: "warning", message: "hot" }]);
    expect(curves.changes).toBe(1);
    const next = applied(curves, [{ id: "t:5", data: progress(3) as Event }, { id: "t:6", data: progress(3) as Event }]);
    expect(epochs(next)).toEqual([1, 2, 3]);
    expect(next.rows[2]?.elapsed_seconds).toBe(1.5);
  });

  test("what it does at this moment is kept until it stops", () => {
    const activity = { epoch: 1, step: 3, steps: 10, memory: 1, cpu: 1, gpus: [] };
    const curves = applied(after({ type: "state", state: "running" }), [{ id: null, data: { type: "activity", task_id: "t", activity } }]);
    expect(curves.activity).toEqual(activity);
    expect(applied(curves, [{ id: "t:2", data: { type: "state", task_id: "t", state: "paused" } as Event }]).activity).toBeNull();
  });
});

describe("long trainings", () => {
  const noisy = (count: number): Row[] => Array.from({ length: count }, (_, at) => row(at + 1, { train_loss: ((at * 7919) % 1013) / 1013, elapsed_seconds: at + 1 }));

  test.each([[41, 10], [1000, 100], [4321, 200]])("%i epochs in at most about %i rows keep every extreme", (count, points) => {
    const rows = noisy(count);
    const { rows: found, bucket } = thinned({ rows, bucket: 1, missing: {} }, points);
    expect(found.length).toBeLessThanOrEqual(points + 2);
    for (let first = 0; first < count; first += bucket) {
      const values = rows.slice(first, first + bucket).map((one) => one.train_loss ?? 0);
      const mine = found.filter(({ epoch }) => epoch > first && epoch <= first + bucket).map((one) => one.train_loss);
      expect(new Set(mine)).toEqual(new Set(values.length === 1 ? values : [Math.min(...values), Math.max(...values)]));
      if (mine.length === 2) expect((mine[0] ?? 0) <= (mine[1] ?? 0)).toBe(values.indexOf(Math.min(...values)) <= values.indexOf(Math.max(...values)));
    }
    expect([found[0]?.epoch, found.at(-1)?.epoch]).toEqual([1, count]);
  });

  test("reduced twice is reduced once", () => {
    const rows = noisy(4000);
    const once = thinned({ rows, bucket: 1, missing: {} }, 250);
    const twice = thinned(thinned({ rows, bucket: 1, missing: {} }, 1000), 250);
    expect(twice.bucket).toBe(once.bucket);
    expect(twice.rows).toEqual(once.rows);
  });

  test("missing values among others are told, and none is made up", () => {
    const rows = noisy(40).map((one) => (one.epoch === 3 ? { ...one, train_loss: null } : { ...one, val_loss: null }));
    const { rows: found, missing, bucket } = thinned({ rows, bucket: 1, missing: {} }, 10);
    expect(missing.train_loss).toEqual([1]);
    expect(found.every((one) => one.train_loss !== null)).toBe(true);
    expect(found.filter(({ epoch }) => epoch > bucket).every((one) => one.val_loss === null)).toBe(true);
  });

  test("a page that receives many epochs reduces them by itself", () => {
    const curves = applied(EMPTY, Array.from({ length: 2 * POINTS + 1 }, (_, at) => ({ id: `t:${String(at + 1)}`, data: progress(at + 1) as Event })));
    expect(curves.bucket).toBeGreaterThan(1);
    expect(curves.rows.length).toBeLessThanOrEqual(POINTS + 2);
    expect(curves.hasHoles).toBe(false);
    const next = applied(curves, [{ id: `t:${String(2 * POINTS + 2)}`, data: progress(2 * POINTS + 2) as Event }]);
    expect(next.rows.at(-1)?.epoch).toBe(2 * POINTS + 2);
    expect(pace(next).secondsPerEpoch).toBeCloseTo(0.5, 9);
  });
});

describe("groups", () => {
  test("both sides of a metric are together, the loss first and the main metric second", () => {
    const rows = [row(1, { val_f1: 0.5, val_auc: 0.6, train_accuracy: 0.7, val_accuracy: 0.8 })];
    const found = groups(rows, "auc");
    expect(found.map(({ name }) => name)).toEqual(["loss", "auc", "accuracy", "f1"]);
    expect(found[0]).toEqual({ name: "loss", train: "train_loss", validation: "val_loss" });
    expect(found[1]).toEqual({ name: "auc", train: null, validation: "val_auc" });
  });

  test("a metric that never has a value has no chart", () => {
    expect(groups([row(1, { train_accuracy: null, val_accuracy: null })], "rmse").map(({ name }) => name)).toEqual(["loss"]);
  });

  test("a missing value is null, never 0", () => expect(column([row(1, { val_loss: null }), row(2)], "val_loss")).toEqual([null, 1]));
});

describe("pace", () => {
  test("one slow epoch does not change the estimate", () => {
    const started = { type: "state", state: "running", started: { rows: { train: 100 } } };
    const curves = after(started, progress(1, { time_per_epoch: 60 }), ...[2, 3, 4].map((epoch) => progress(epoch)));
    expect(pace(curves)).toEqual({ secondsPerEpoch: 0.5, rowsPerSecond: 200, secondsLeft: 3 });
  });

  test("nothing is left of a training that does not run", () => {
    expect(pace(after(progress(1), { type: "state", state: "paused" })).secondsLeft).toBeNull();
  });
});
