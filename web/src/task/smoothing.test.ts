import { describe, expect, test } from "vitest";

import { compared, differing, isEqual, shortest } from "./config";
import { positive, smoothed } from "./smoothing";

describe("smoothing", () => {
  test("a constant stays what it is, from the first value on", () => {
    for (const value of smoothed([3, 3, 3, 3], 0.9)) expect(value).toBeCloseTo(3, 12);
  });

  test("what comes later has no effect on what came before", () => {
    const values = [5, 1, 4, 2, 8];
    expect(smoothed([...values, 100], 0.8).slice(0, values.length)).toEqual(smoothed(values, 0.8));
  });

  test("missing values stay missing and change nothing after them", () => {
    expect(smoothed([2, null, 2], 0.6)).toEqual([2, null, 2]);
  });

  test("a value that stands for several epochs weighs as much as these", () => {
    const [, , each] = smoothed([1, 5, 5], 0.8);
    const [, together] = smoothed([1, 5], 0.8, [1, 3]);
    expect(together).toBeCloseTo(each ?? 0, 12);
  });

  test("a logarithmic axis leaves out what is not above 0, and keeps what is no point", () => {
    expect(positive([1, 0, -1, null, undefined])).toEqual([1, null, null, null, undefined]);
  });
});

const schema = { properties: { epochs: { default: 100 }, target_column: {}, hidden_units: { default: [64, 32] }, seed: { default: 0 } } };

describe("the config beside its defaults", () => {
  const config = { seed: 0, target_column: "y", hidden_units: [64, 32], epochs: 20, unknown: 1 };

  test("options are in the order of the schema, unknown ones last", () => {
    expect(compared(config, schema).map(({ name, isChanged }) => [name, isChanged])).toEqual([
      ["epochs", true],
      ["target_column", true],
      ["hidden_units", false],
      ["seed", false],
      ["unknown", true],
    ]);
  });

  test("the shortest config has what is not a default", () => {
    expect(shortest(config, schema)).toEqual({ epochs: 20, target_column: "y", unknown: 1 });
  });

  test("the order of keys is no difference, the order of lists is", () => {
    expect(isEqual({ a: 1, b: [1, 2] }, { b: [1, 2], a: 1 })).toBe(true);
    expect(isEqual([1, 2], [2, 1])).toBe(false);
    expect(isEqual(null, undefined)).toBe(true);
  });

  test("only options that differ somewhere are compared", () => {
    expect(differing([{ a: 1, b: 2 }, { a: 1, b: 3 }, { a: 1 }])).toEqual(["b"]);
  });
});
