// @vitest-environment jsdom
import { describe, expect, test } from "vitest";

import { barLabels, withOption, type Column } from "./columns";

describe("options of columns", () => {
  test("an option is set and removed, and nothing is left of what says nothing", () => {
    const one = withOption({}, "day", "format", "%d/%m/%Y");
    expect(one).toEqual({ day: { format: "%d/%m/%Y" } });
    expect(withOption(one ?? {}, "day", "timezone", "UTC")).toEqual({ day: { format: "%d/%m/%Y", timezone: "UTC" } });
    expect(withOption(one ?? {}, "day", "format", undefined)).toBeUndefined();
    expect(withOption({ a: { type: "text" }, day: { missing: ["-"] } }, "day", "missing", [])).toEqual({ a: { type: "text" } });
  });

  test("another type begins without the formats of the old one, with the same missing words", () => {
    expect(withOption({ day: { type: "date", format: "%d", missing: ["-"] } }, "day", "type", "category")).toEqual({ day: { missing: ["-"], type: "category" } });
    expect(withOption({ day: { type: "date", format: "%d" } }, "day", "type", undefined)).toBeUndefined();
  });
});

test("the bars of a histogram say where they are", () => {
  const column: Column = { name: "a", type: "Float64", kind: "number", missing: 0, notation: null, histogram: { edges: [0, 0.123456, 2], counts: [3, 0] } };
  expect(barLabels(column)).toEqual(["0 … 0.1235: 3", "0.1235 … 2: 0"]);
  expect(barLabels({ ...column, histogram: null, top: [{ value: "x", count: 1200 }] })).toEqual(["x: 1,200"]);
});
