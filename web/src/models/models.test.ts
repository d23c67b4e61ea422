import { describe, expect, test } from "vitest";

import { answerTable, countRows, exampleTable, mediaType, rowsNeeded, stepOf } from "./rows";

type Model = Parameters<typeof exampleTable>[0];

const input = (name: string, example: unknown, role: "feature" | "time" | "group" = "feature"): Model["inputs"][number] =>
  ({ name, example, role, kind: "number", required: true, steps: null });
const plain: Model = { inputs: [input("size", 3), input("a, b", 'say "x"')], sequence_length: null, horizon: null, known_in_advance: null };
const forecast: Model = { inputs: [input("load", 7), input("price", 1), input("at", "2026-01-01", "time"), input("site", "A", "group")], sequence_length: 2, horizon: [1, 2], known_in_advance: ["price"] };

describe("rows to predict", () => {
  test("the example is valid CSV with a few rows", () => {
    expect(exampleTable(plain).split("\n")).toEqual(['size,"a, b"', ...Array<string>(3).fill('3,"say ""x"""')]);
  });

  test("a forecast gets its window and its future, in which only known columns have values", () => {
    expect(rowsNeeded(forecast)).toBe(4);
    expect(exampleTable(forecast).split("\n")).toEqual([
      "load,price,at,site",
      "7,1,2026-01-01,A",
      "7,1,2026-01-02,A",
      ",1,2026-01-03,A",
      ",1,2026-01-04,A",
    ]);
    expect(rowsNeeded({ ...forecast, known_in_advance: [] })).toBe(2);
  });

  test("times are as far apart as the model needs them", () => {
    const hourly = { ...forecast, inputs: [input("at", "2026-01-01T23:30:00", "time")], known_in_advance: [] };
    expect(exampleTable(hourly, "15min").split("\n")[2]).toBe("2026-01-01T23:45:00");
    expect(exampleTable(hourly).split("\n")[2]).toBe("2026-01-02T00:30:00");
    expect(exampleTable({ ...hourly, inputs: [input("at", 5, "time")] }, 2).split("\n")).toEqual(["at", "5", "7"]);
    expect(exampleTable({ ...hourly, inputs: [input("at", "x", "time")] }).split("\n")).toEqual(["at", "x", "x"]);
    expect([stepOf("1d"), stepOf("h"), stepOf("1mo"), stepOf(null)]).toEqual([86_400, 3600, null, null]);
  });

  test("what is pasted from a spreadsheet is separated by tabs", () => {
    expect(mediaType("a\tb\n1,5\t2")).toBe("text/tab-separated-values");
    expect(mediaType("a;b\n1\t;2")).toBe("text/csv");
  });

  test("rows are counted below the header, without blank lines and with line breaks inside quotes", () => {
    expect(countRows('a,b\n1,2\n\n"x\ny",3\n')).toBe(2);
    expect(countRows("")).toBe(0);
  });

  test("answers become a table with a column for each class, unless they are many", () => {
    const { columns, rows } = answerTable([{ prediction: "a", probabilities: { a: 0.9, b: 0.1 } }, { prediction: null, problem: "x" }]);
    expect(columns).toEqual(["prediction", "P(a)", "P(b)", "problem"]);
    expect(rows).toEqual([["a", 0.9, 0.1, undefined], [null, undefined, undefined, "x"]]);
    const many = Object.fromEntries(Array.from({ length: 13 }, (_, at) => [String(at), 0]));
    expect(answerTable([{ prediction: 1, probabilities: many }]).columns).toEqual(["prediction"]);
  });
});
