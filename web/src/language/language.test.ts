// @vitest-environment jsdom
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";

import { beforeEach, describe, expect, test } from "vitest";

import { METRICS } from "../components/metrics";
import { CATALOGUE, type Key } from "./catalogue";
import * as format from "./format";
import { choose, text } from "./language";

const SOURCES = resolve(import.meta.dirname, "..");
const places = (given: string): string[] => [...given.matchAll(/\{(\w+)/g)].map(([, name]) => name ?? "").sort();

function sources(folder: string): string {
  return readdirSync(folder, { withFileTypes: true })
    .filter(({ name }) => !/\.test\.|catalogue|schema/.test(name))
    .map((entry) => (entry.isDirectory() ? sources(join(folder, entry.name)) : readFileSync(join(folder, entry.name), "utf8")))
    .join("\n");
}

beforeEach(() => choose("en"));

describe("the catalogue", () => {
  const entries = Object.entries(CATALOGUE) as [Key, readonly [string, string]][];

  test.each(entries)("%s has the same places in both languages", (_, [english, chinese]) => {
    expect([...new Set(places(chinese))]).toEqual([...new Set(places(english))]);
  });

  test("every key is used", () => {
    const code = sources(SOURCES);
    const families = [...code.matchAll(/`([a-z_]+)\.\$\{/g)].map(([, family]) => `${family ?? ""}.`);
    const unused = entries.map(([key]) => key).filter((key) => !code.includes(`"${key}"`) && !families.some((family) => key.startsWith(family)));
    expect(unused).toEqual([]);
  });

  test("every metric has a name", () => {
    expect(METRICS.filter((name) => !(`metric.${name}` in CATALOGUE))).toEqual([]);
  });

  test("Chinese texts are Chinese, unless they are names", () => {
    const names = new Set(["metric.auc", "metric.f1", "metric.r2", "metric.mae", "metric.rmse", "metric.mape", "metric.smape", "tasks.epochs", "system.of", "snippet.curl", "snippet.python"]);
    expect(entries.filter(([key, [, chinese]]) => !names.has(key) && !/[\u4e00-\u9fff]|CSV/.test(chinese)).map(([key]) => key)).toEqual([]);
  });

  test("a number takes its word", () => {
    expect(text("confirm.remove", { n: 1 })).toBe("Delete 1 task?");
    expect(text("confirm.remove", { n: 3 })).toBe("Delete 3 tasks?");
    expect(text("confirm.remove", { n: 3 }, "zh")).toBe("删除 3 个任务？");
  });
});

describe("formats", () => {
  test.each([
    [0.98661, "0.9866"],
    [0.5, "0.500"],
    [0, "0.00"],
    [1234.5678, "1,235"],
    [0.0000123, "1.23e-5"],
    [null, "–"],
    [Number.NaN, "–"],
  ])("the value %s is %s", (given, shown) => expect(format.value(given)).toBe(shown));

  test.each([
    [0.0123, "12 ms"],
    [4.26, "4.3 s"],
    [59.4, "59 s"],
    [59.99, "0 min 59 s"],
    [61, "1 min 1 s"],
    [7_300, "2 h 1 min"],
    [200_000, "2 d 7 h"],
    [null, "–"],
  ])("%s seconds are %s", (given, shown) => expect(format.duration(given)).toBe(shown));

  test.each([
    [0, "0 B"],
    [1023, "1,023 B"],
    [1536, "1.5 KiB"],
    [84_623_000, "80.7 MiB"],
  ])("%s bytes are %s", (given, shown) => expect(format.bytes(given)).toBe(shown));

  test("durations have a language", () => {
    choose("zh");
    expect(format.duration(7_300)).toBe("2 小时 1 分");
  });

  test("a moment of today is a time", () => {
    const now = new Date("2026-03-04T12:00:00");
    expect(format.moment("2026-03-04T09:05:00", now)).toMatch(/^0?9:05/);
    expect(format.moment("2026-03-03T09:05:00", now)).toContain("Mar");
    expect(format.moment(null)).toBe("–");
  });

  test("time between two moments, or until now", () => {
    expect(format.between("2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z")).toBe(60);
    expect(format.between("2026-01-01T00:00:00Z", null, Date.parse("2026-01-01T00:00:05Z"))).toBe(5);
    expect(format.between(null, null)).toBeNull();
  });
});
