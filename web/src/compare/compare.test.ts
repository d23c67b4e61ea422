// @vitest-environment jsdom
import { describe, expect, test } from "vitest";

import type { Row } from "../task/curves";
import { axisOf, covered, dragged, labels, MISSING, nearest, passing, placeOf, shadesOf, variety, type Axis, type NumberAxis } from "./axes";
import { added, address, chosenOf, lookOf, removed } from "./colours";
import { overlaid, stepsPerEpoch } from "./overlay";

describe("colours", () => {
  test("a task keeps its place when others are removed and added, also through the address", () => {
    const three = chosenOf(["a", "b", "c"], undefined);
    expect(three.places).toEqual([1, 2, 3]);
    const two = removed(three, "a");
    expect(address(two)).toEqual({ ids: ["b", "c"], places: [2, 3] });
    const again = added(chosenOf(["b", "c"], [2, 3]), ["d", "e", "b"]);
    expect(again).toEqual({ ids: ["b", "c", "d", "e"], places: [2, 3, 1, 4] });
  });

  test("places that cannot be right are not used, and plain ones are not written", () => {
    expect(chosenOf(["a", "b"], [1, 1]).places).toEqual([1, 2]);
    expect(chosenOf(["a", "b"], [3]).places).toEqual([1, 2]);
    expect(chosenOf(["a", "a"], undefined).ids).toEqual(["a"]);
    expect(address(chosenOf(["a"], undefined))).toEqual({ ids: ["a"], places: undefined });
    expect(address(chosenOf([], undefined)).ids).toBeUndefined();
  });

  test("up to 32 curves no two look alike", () => {
    const looks = Array.from({ length: 32 }, (_, at) => JSON.stringify(lookOf(at + 1)));
    expect(new Set(looks).size).toBe(32);
    expect(lookOf(9).colour).toBe(1);
  });
});

describe("axes", () => {
  const rates = axisOf("learning_rate", "learning_rate", [0.1, 0.001, 0.01, null]) as NumberAxis;
  const optimizers = axisOf("optimizer", "optimizer", ["sgd", "adam", "adamw", "adam"]);

  test("numbers over decades are logarithmic, others are not", () => {
    expect(rates).toMatchObject({ kind: "number", isLog: true, min: 0.001, max: 0.1, hasMissing: true });
    expect(placeOf(rates, 0.01)).toBeCloseTo(0.5);
    expect(axisOf("epochs", "epochs", [5, 20])).toMatchObject({ isLog: false });
    expect(axisOf("rate", "rate", [0, 100])).toMatchObject({ isLog: false });
  });

  test("everything else is a category, in the order of numbers and words", () => {
    expect(optimizers).toMatchObject({ kind: "category", categories: ["adam", "adamw", "sgd"], values: [2, 0, 1, 0] });
    expect(axisOf("hidden_units", "x", [[128, 64], [32], [64, 32]])).toMatchObject({ categories: ["32", "64, 32", "128, 64"] });
    expect(axisOf("flag", "x", [true, null])).toMatchObject({ kind: "category", values: [1, 0] });
  });

  test("a missing number is below the axis, and one value is in its middle", () => {
    expect(placeOf(rates, null)).toBe(MISSING);
    expect(placeOf(axisOf("seed", "seed", [42, 42]), 42)).toBe(0.5);
    expect(placeOf(axisOf("a", "a", ["x", "x"]), 0)).toBe(0.5);
  });

  test("what is dragged over passes, and nothing else", () => {
    const filter = dragged(rates, 0.7, 0.2);
    expect(filter).toMatchObject({ kind: "range", withMissing: false });
    expect(passing([rates], { learning_rate: filter as never }, 4)).toEqual([false, false, true, false]);
    expect(passing([rates], { learning_rate: dragged(rates, -0.2, 0.1) as never }, 4)).toEqual([false, true, false, true]);
    expect(passing([rates], { learning_rate: dragged(rates, -0.2, -0.1) as never }, 4)).toEqual([false, false, false, true]);
    expect(dragged(optimizers, 0.4, 1.1)).toEqual({ kind: "some", indexes: [1, 2] });
    expect(dragged(optimizers, 0.1, 0.3)).toBeNull();
  });

  test("filters of several axes hold together; those of axes that are not shown do not", () => {
    const filters = { learning_rate: { kind: "range", from: 0.005, to: 1, withMissing: true }, optimizer: { kind: "some", indexes: [0] } } as const;
    expect(passing([rates, optimizers], filters, 4)).toEqual([false, false, false, true]);
    expect(passing([rates], filters, 4)).toEqual([true, false, true, true]);
  });

  test("a filter covers a part of its axis, or nothing of it", () => {
    expect(covered(rates, { from: 0.01, to: 5 })).toEqual([expect.closeTo(0.5) as number, 1]);
    expect(covered(rates, { from: 1, to: 5 })).toBeNull();
  });

  test("labels name both ends, and decades or round numbers between them", () => {
    expect(labels(rates).map(({ text }) => text)).toEqual(["–", "0.001", "0.01", "0.1"]);
    expect(labels(axisOf("epochs", "epochs", [3, 97])).map(({ text }) => text)).toEqual(["3", "20", "40", "60", "80", "97"]);
    const many = axisOf("many", "many", Array.from({ length: 500 }, (_, at) => `v${String(at)}`));
    expect(labels(many).length).toBeLessThanOrEqual(12);
  });

  test("the nearest line is found between two axes", () => {
    const [left, right] = [axisOf("l", "l", [0, 1, 0]), axisOf("r", "r", [0, 0, 1])] as [Axis, Axis];
    expect(nearest(left, right, 0.5, 0.02, [0, 1, 2])).toMatchObject({ line: 0 });
    expect(nearest(left, right, 0.9, 0.88, [0, 1, 2])).toMatchObject({ line: 2 });
    expect(nearest(left, right, 0.5, 0.02, [1])).toMatchObject({ line: 1, distance: expect.closeTo(0.48) as number });
    expect(nearest(left, right, 0.5, 0, [])).toBeNull();
  });

  test("shades follow the rank, so that an outlier does not make the others alike", () => {
    expect(shadesOf([0.5, 1000, null, 0.1], false)).toEqual([0.5, 0, null, 1]);
    expect(shadesOf([0.5, 0.9, 0.9], true)).toEqual([0, 1, 1]);
    expect(shadesOf([0.5], true)).toEqual([1]);
  });

  test("options in which many differ tell more than those of one task", () => {
    expect(variety([1, 1, 1])).toBe(0);
    expect(variety([[64], [32], [64], [32]])).toBeCloseTo(Math.log(2));
    expect(variety([1, 2, 3, 4])).toBeGreaterThan(variety(["a", "a", "a", null]));
  });

  test("thousands of lines take a few milliseconds", () => {
    const count = 5_000;
    const axes = Array.from({ length: 12 }, (_, at) => axisOf(`o${String(at)}`, "o", Array.from({ length: count }, (_, line) => (line * (at + 7)) % 101)));
    const filters = Object.fromEntries(axes.map(({ key }) => [key, { kind: "range", from: 1, to: 99, withMissing: false } as const]));
    const began = performance.now();
    const passed = passing(axes, filters, count);
    const [left, right] = axes as [Axis, Axis];
    nearest(left, right, 0.5, 0.5, passed.flatMap((isIn, line) => (isIn ? [line] : [])));
    expect(performance.now() - began).toBeLessThan(250); // about 5 ms; a busy machine is slower
  });
});

describe("curves on one axis", () => {
  const row = (epoch: number, val_loss: number | null): Row => ({ epoch, val_loss, train_loss: 9, elapsed_seconds: epoch / 2 });
  const one = { label: "one", place: 2, rows: [row(1, 4), row(2, null)], stepsPerEpoch: 10 };
  const other = { label: "other", place: 9, rows: [row(1, 3), row(2, 2), row(3, 1)], stepsPerEpoch: 5 };

  test("epochs coincide; a missing validation value is a gap, and training rows are drawn where there are no others", () => {
    const { x, series } = overlaid([one, other], "loss", "epoch");
    expect(x).toEqual([1, 2, 3]);
    expect(series[0]).toMatchObject({ colour: "--series-2", values: [4, null, undefined] });
    expect(overlaid([{ ...one, rows: [row(1, null)] }], "loss", "epoch").series[0]?.values).toEqual([9]);
    expect(series[1]).toMatchObject({ colour: "--series-1", dash: [6, 3] });
  });

  test("steps and seconds are counted from the beginning", () => {
    expect(overlaid([one, other], "loss", "step").x).toEqual([5, 10, 15, 20]);
    expect(overlaid([one, other], "loss", "time").x).toEqual([0.5, 1, 1.5]);
    expect(overlaid([{ ...one, stepsPerEpoch: null }], "loss", "step").x).toEqual([]);
  });

  test("steps per epoch are as reported, or follow from the rows", () => {
    expect(stepsPerEpoch({ steps_per_epoch: 7, rows: { train: 100 } }, { batch_size: 32 })).toBe(7);
    expect(stepsPerEpoch({ rows: { train: 455 } }, { batch_size: 32 })).toBe(15);
    expect(stepsPerEpoch({}, { batch_size: 32 })).toBeNull();
  });
});
