import { describe, expect, test } from "vitest";

import { applied, column, EMPTY, filled, groups, hasHoles, pace, type Curves, type Event, type Row } from "./curves";

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
    const curves = after(progress(1), { type: "state", state: "paused" }, { type: "state", state: "pending", changes: { epochs: [10, 20] } }, progress(2));
    expect(curves.marks.map(({ kind, epoch, detail }) => [kind, epoch, detail])).toEqual([
      ["pause", 1, ""],
      ["changed", 1, "epochs: 10 → 20"],
    ]);
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
  test("missing epochs are noticed and filled from the history", () => {
    const curves = after(progress(1), progress(4));
    expect(hasHoles(curves)).toBe(true);
    const whole = filled(curves, [row(1), row(2), row(3)]);
    expect(epochs(whole)).toEqual([1, 2, 3, 4]);
    expect(hasHoles(whole)).toBe(false);
  });

  test("a continued training that begins late has none", () => expect(hasHoles(after(progress(5), progress(6)))).toBe(false));
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
