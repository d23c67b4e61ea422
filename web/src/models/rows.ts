/** Rows to predict as text, as they are copied from a spreadsheet or a file: an example to begin with, and what is sent. */

import type { Schemas } from "../api/client";

type Model = Pick<Schemas["ModelDetail"], "inputs" | "sequence_length" | "horizon" | "known_in_advance">;
type Input = Model["inputs"][number];

const EXAMPLES = 3;
const SECONDS: Record<string, number> = { s: 1, min: 60, m: 60, h: 3600, d: 86_400, w: 604_800 };

/** How many rows a forecast needs: its window, and those of the future whose columns are known in advance. */
export function rowsNeeded({ sequence_length, horizon, known_in_advance }: Model): number | null {
  if (sequence_length === null) return null;
  return sequence_length + ((known_in_advance?.length ?? 0) > 0 ? Math.max(...[horizon ?? 0].flat()) : 0);
}

/** The seconds or units of one step of a `frequency` such as `15min`; null if it is none of these. */
export function stepOf(frequency: unknown): number | null {
  if (typeof frequency === "number") return frequency;
  const [, count, unit] = /^(\d*)\s*([a-z]+)$/.exec(typeof frequency === "string" ? frequency : "") ?? [];
  const seconds = SECONDS[unit ?? ""];
  return seconds === undefined ? null : Number(count === "" ? 1 : count) * seconds;
}

/** A time some steps later; days of a date, hours of a time, unless the step is known. */
function later(example: unknown, steps: number, step: number | null): unknown {
  if (typeof example === "number") return example + steps * (step ?? 1);
  if (typeof example !== "string") return example;
  const isDate = /^\d{4}-\d{2}-\d{2}$/.test(example);
  const began = Date.parse(isDate || /(Z|[+-]\d{2}:?\d{2})$/.test(example) ? example : `${example}Z`);
  if (Number.isNaN(began)) return example;
  const iso = new Date(began + steps * (step ?? (isDate ? 86_400 : 3600)) * 1000).toISOString();
  return isDate && (step ?? 86_400) % 86_400 === 0 ? iso.slice(0, 10) : iso.slice(0, 19);
}

function cell(value: unknown): string {
  if (value === null || value === undefined) return "";
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return /[",\n\r\t]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** A table in CSV with the example of each input in as many rows as a forecast needs; otherwise in a few. */
export function exampleTable(model: Model, frequency?: unknown): string {
  const known = new Set(model.known_in_advance ?? []);
  const step = stepOf(frequency);
  const value = (input: Input, row: number): unknown => {
    if (input.role === "time") return later(input.example, row, step);
    const isFuture = model.sequence_length !== null && row >= model.sequence_length;
    return isFuture && input.role === "feature" && !known.has(input.name) ? null : input.example;
  };
  const count = rowsNeeded(model) ?? EXAMPLES;
  const lines = Array.from({ length: count }, (_, row) => model.inputs.map((input) => cell(value(input, row))).join(","));
  return [model.inputs.map(({ name }) => cell(name)).join(","), ...lines].join("\n");
}

/** The media type of a pasted table: spreadsheets separate by tabs. The server finds out every other separator. */
export function mediaType(text: string): string {
  return (text.split("\n", 1)[0] ?? "").includes("\t") ? "text/tab-separated-values" : "text/csv";
}

/** The number of rows below the header; a line break inside quotes is part of its value. */
export function countRows(text: string): number {
  let isQuoted = false;
  let lines = 0;
  let isBlank = true;
  for (const letter of `${text}\n`) {
    if (letter === '"') isQuoted = !isQuoted;
    if (letter === "\n" && !isQuoted) {
      lines += isBlank ? 0 : 1;
      isBlank = true;
    } else if (letter.trim() !== "") isBlank = false;
  }
  return Math.max(0, lines - 1);
}

/** The answers as a table: each prediction, and the probabilities of a few classes in columns of their own. */
export function answerTable(predictions: readonly Readonly<Record<string, unknown>>[]): { columns: string[]; rows: unknown[][] } {
  const flat = predictions.map(({ probabilities, ...rest }) => {
    const classes = Object.entries((probabilities ?? {}) as Record<string, number>);
    return { ...rest, ...Object.fromEntries(classes.length > 12 ? [] : classes.map(([label, share]) => [`P(${label})`, share])) };
  });
  const columns = [...new Set(flat.flatMap((row) => Object.keys(row)))];
  return { columns, rows: flat.map((row) => columns.map((name) => row[name])) };
}
