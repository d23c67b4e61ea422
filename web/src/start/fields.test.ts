import { describe, expect, test } from "vitest";

import { applies, changed, fieldOf, read, written, type Property } from "./fields";
import { python, snippet } from "./snippets";

const nullable = (property: Property): Property => ({ anyOf: [property, { type: "null" }], default: null });

describe("fields of the schema", () => {
  test.each([
    ["switch", { type: "boolean", default: false }],
    ["choice", { type: "string", enum: ["a", "b"] }],
    ["choice", nullable({ type: "string", const: "log1p" })],
    ["integer", { type: "integer" }],
    ["number", nullable({ type: "number" })],
    ["list", { type: "array", items: { type: "integer" } }],
    ["text", { anyOf: [{ type: "string", enum: ["f1"] }, { type: "number" }] }],
    ["json", { anyOf: [{ type: "string", const: "balanced" }, { type: "object" }, { type: "null" }] }],
    ["text", { type: "string" }],
  ] as [string, Property][])("a %s", (kind, property) => expect(fieldOf("x", property).kind).toBe(kind));

  test("limits and help come from the schema", () => {
    const field = fieldOf("x", nullable({ type: "number", exclusiveMinimum: 0, maximum: 10 }));
    expect(field).toMatchObject({ isOptional: true, min: 0, max: 10, preset: null });
  });
});

describe("what is typed", () => {
  const list = fieldOf("units", { type: "array", items: { type: "integer" } });
  const number = fieldOf("rate", { type: "number" });
  const threshold = fieldOf("threshold", { anyOf: [{ type: "string", enum: ["f1", "balanced"] }, { type: "number" }] });

  test.each([
    [list, "64, 32", [64, 32]],
    [list, "64,", [64]],
    [number, "0.01", 0.01],
    [number, "1e-3", 0.001],
    [number, "fast", "fast"],
    [threshold, "f1", "f1"],
    [threshold, "0.4", 0.4],
    [fieldOf("w", nullable({ type: "object" })), '{"a": 2}', { a: 2 }],
    [fieldOf("p", nullable({ type: "integer" })), "", null],
    [number, "", undefined],
  ])("%#: it becomes a value", (field, typed, value) => expect(read(field, typed)).toEqual(value));

  test("a value is written as it is typed", () => {
    expect(written([64, 32])).toBe("64, 32");
    expect(written(null)).toBe("");
    expect(read(list, written([8, 4]))).toEqual([8, 4]);
  });

  test("an option with its default is left out", () => {
    expect(changed({ epochs: 5, seed: 1 }, "epochs", 100, 100)).toEqual({ seed: 1 });
    expect(changed({ seed: 1 }, "epochs", 5, 100)).toEqual({ seed: 1, epochs: 5 });
  });

  test("options apply beside the values that they belong to", () => {
    const schema = { properties: { learning_rate_scheduler: { default: "step" }, model_type: { default: "mlp" } } };
    expect(applies("gamma", {}, schema)).toBe(true);
    expect(applies("gamma", { learning_rate_scheduler: "cosine" }, schema)).toBe(false);
    expect(applies("kernel_size", {}, schema)).toBe(false);
    expect(applies("epochs", {}, schema)).toBe(true);
  });
});

describe("snippets", () => {
  const config = { dataset: "it's", early_stopping_patience: null, mixed_precision: true, hidden_units: [64, 32] };

  test("curl quotes what a shell would read", () => {
    expect(snippet("curl", { dataset: "it's" }, "http://host", false)).toContain(String.raw`"it'\''s"`);
  });

  test("Python has its own names for null and true", () => {
    expect(python(config)).toBe('{\n    "dataset": "it\'s",\n    "early_stopping_patience": None,\n    "mixed_precision": True,\n    "hidden_units": [64, 32],\n}');
  });

  test("a token is named, never written", () => {
    for (const kind of ["curl", "python"] as const) expect(snippet(kind, config, "http://host", true)).toContain("EPOCHD_TOKEN");
    expect(snippet("curl", config, "http://host", false)).not.toContain("Authorization");
  });
});
