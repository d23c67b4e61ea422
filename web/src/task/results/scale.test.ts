import { describe, expect, test } from "vitest";

import { decoded } from "./Picture";
import { around, line, nearest, scale, ticks } from "./scale";

describe("scale", () => {
  test("the ends of the domain are the ends of the range", () => {
    const x = scale([10, 20], [100, 0]);
    expect([10, 15, 20].map(x)).toEqual([100, 50, 0]);
  });
  test("a domain of one value is in the middle", () => {
    expect(scale([3, 3], [0, 10])(3)).toBe(5);
  });
});

describe("ticks", () => {
  test.each([
    [[0, 1] as const, 5, [0, 0.2, 0.4, 0.6, 0.8, 1]],
    [[-55, 60] as const, 4, [-50, 0, 50]],
    [[0.1, 0.35] as const, 5, [0.1, 0.15, 0.2, 0.25, 0.3, 0.35]],
    [[2, 2] as const, 5, [2]],
    [[1e9, 3e9] as const, 2, [1e9, 2e9, 3e9]],
  ])("%j", (range, most, expected) => {
    expect(ticks(range, most)).toEqual(expected);
  });
  test("never many more than asked for, whatever the range", () => {
    for (const high of [1e-9, 0.37, 1, 12.5, 999, 1e12]) {
      const found = ticks([-high / 3, high], 6);
      expect(found.length).toBeGreaterThanOrEqual(2);
      expect(found.length).toBeLessThanOrEqual(8);
    }
  });
});

describe("around", () => {
  test("leaves room on both sides, also of a single value", () => {
    expect(around([0, 10], 0.1)).toEqual([-1, 11]);
    expect(around([5])).toEqual([4.5, 5.5]);
    expect(around([])).toEqual([0, 1]);
    expect(around([NaN, 1, 3], 0)).toEqual([1, 3]);
  });
});

describe("line", () => {
  const same = (value: number): number => value;
  test("a missing value interrupts it", () => {
    expect(line([0, 1, 2, 3], [1, null, 3, 4], same, same)).toBe("M0.0 1.0M2.0 3.0L3.0 4.0");
    expect(line([0, 1], [NaN, 2], same, same)).toBe("M1.0 2.0");
  });
});

describe("nearest", () => {
  test("is the place of the nearest value, the first of several", () => {
    expect(nearest([0, 0.5, 0.5, 1], 0.6)).toBe(1);
    expect(nearest([], 3)).toBe(-1);
  });
});

describe("pictures", () => {
  test("a data address is decoded, any other is not", async () => {
    const blob = decoded("data:image/png;base64,aGVsbG8=");
    expect(blob?.type).toBe("image/png");
    expect(await blob?.text()).toBe("hello");
    expect(decoded("https://example.org/a.png")).toBeNull();
    expect(decoded("data:text/html;base64,aGVsbG8=")).toBeNull();
  });
});
