/**
 * The axes of parallel coordinates: what values become places from 0 to 1, and which lines a filter lets pass. Numbers that
 * span decades are on a logarithmic axis; anything else that is no number is a category. A missing value of numbers has a
 * place of its own below the axis.
 */

import * as format from "../language/format";

interface Scale {
  key: string;
  label: string;
  /** One value for each line: a number, the index of a category, or null where it is missing. */
  values: readonly (number | null)[];
}

export interface NumberAxis extends Scale {
  kind: "number";
  isLog: boolean;
  min: number;
  max: number;
  hasMissing: boolean;
}

export interface CategoryAxis extends Scale {
  kind: "category";
  categories: readonly string[];
}

export type Axis = NumberAxis | CategoryAxis;

/** What passes: numbers between two ends, or some of the categories. */
export type Filter = { kind: "range"; from: number; to: number; withMissing: boolean } | { kind: "some"; indexes: readonly number[] };
export type Filters = Readonly<Record<string, Filter>>;

/** The place of a missing number, below the axis. */
export const MISSING = -0.14;
const DECADES = 50; // the ratio from which on an axis is logarithmic
const MOST_LABELS = 12;

/** The axis of these values, one for each line. */
export function axisOf(key: string, label: string, given: readonly unknown[]): Axis {
  const numbers = given.filter((value): value is number => typeof value === "number" && Number.isFinite(value));
  if (numbers.length > 0 && given.every((value) => value === null || value === undefined || typeof value === "number")) {
    const min = numbers.reduce((a, b) => Math.min(a, b));
    const max = numbers.reduce((a, b) => Math.max(a, b));
    const values = given.map((value) => (typeof value === "number" && Number.isFinite(value) ? value : null));
    return { key, label, kind: "number", isLog: min > 0 && max / min >= DECADES, min, max, values, hasMissing: values.includes(null) };
  }
  const shown = given.map((value) => (value === null || value === undefined ? format.MISSING : format.shown(value)));
  const categories = [...new Set(shown)].sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));
  const indexes = new Map(categories.map((category, at) => [category, at]));
  return { key, label, kind: "category", categories, values: shown.map((category) => indexes.get(category) ?? null) };
}

/** Where a value is on its axis, from 0 at the bottom to 1; the only value of an axis is in the middle. */
export function placeOf(axis: Axis, value: number | null): number {
  if (value === null) return MISSING;
  if (axis.kind === "category") return axis.categories.length < 2 ? 0.5 : value / (axis.categories.length - 1);
  const { min, max } = axis;
  if (min === max) return 0.5;
  return axis.isLog ? Math.log(value / min) / Math.log(max / min) : (value - min) / (max - min);
}

/** The value at a place of an axis of numbers. */
function valueAt({ isLog, min, max }: NumberAxis, place: number): number {
  const within = Math.min(1, Math.max(0, place));
  return isLog ? min * (max / min) ** within : min + within * (max - min);
}

/** The filter that dragging from one place to another makes; null if nothing is between them. */
export function dragged(axis: Axis, one: number, other: number): Filter | null {
  const [low, high] = one < other ? [one, other] : [other, one];
  if (axis.kind === "category") {
    const indexes = axis.categories.flatMap((_, at) => (placeOf(axis, at) >= low && placeOf(axis, at) <= high ? [at] : []));
    return indexes.length === 0 ? null : { kind: "some", indexes };
  }
  const isSingle = axis.min === axis.max;
  if (isSingle && low > 0.5) return null;
  const withMissing = axis.hasMissing && low < MISSING / 2;
  if (high < 0) return withMissing ? { kind: "range", from: axis.max, to: axis.min, withMissing } : null;
  // A little more at both ends, so that what is shown at an end is inside.
  return { kind: "range", from: isSingle ? axis.min : valueAt(axis, low), to: isSingle ? axis.max : valueAt(axis, high), withMissing };
}

/** The part of an axis that a filter of numbers covers, from 0 to 1; null if it covers none. */
export function covered(axis: NumberAxis, { from, to }: { from: number; to: number }): [number, number] | null {
  if (from > to || to < axis.min || from > axis.max) return null;
  return [placeOf(axis, Math.max(from, axis.min)), placeOf(axis, Math.min(to, axis.max))];
}

function passes(filter: Filter, value: number | null): boolean {
  if (filter.kind === "some") return value !== null && filter.indexes.includes(value);
  return value === null ? filter.withMissing : value >= filter.from && value <= filter.to;
}

/** For each line whether it passes the filters of all axes. */
export function passing(axes: readonly Axis[], filters: Filters, count: number): boolean[] {
  const active = axes.flatMap((axis) => {
    const filter = filters[axis.key];
    return filter === undefined ? [] : [{ axis, filter }];
  });
  return Array.from({ length: count }, (_, line) => active.every(({ axis, filter }) => passes(filter, axis.values[line] ?? null)));
}

/** The labels of an axis, each with its place; of many categories only some. */
export function labels(axis: Axis): { place: number; text: string }[] {
  if (axis.kind === "category") {
    const every = Math.ceil(axis.categories.length / MOST_LABELS);
    return axis.categories.flatMap((text, at) => (at % every === 0 ? [{ place: placeOf(axis, at), text }] : []));
  }
  const missing = axis.hasMissing ? [{ place: MISSING, text: format.MISSING }] : [];
  if (axis.min === axis.max) return [...missing, { place: 0.5, text: format.tick(axis.min) }];
  const inner = axis.isLog ? powers(axis.min, axis.max) : steps(axis.min, axis.max);
  const apart = inner.filter((value) => placeOf(axis, value) > 0.06 && placeOf(axis, value) < 0.94);
  return [...missing, ...[axis.min, ...apart, axis.max].map((value) => ({ place: placeOf(axis, value), text: short(value) }))];
}

/** A number of an axis in few characters. */
function short(value: number): string {
  return format.tick(Number(value.toPrecision(3)));
}

function powers(min: number, max: number): number[] {
  const first = Math.ceil(Math.log10(min));
  return Array.from({ length: Math.max(0, Math.floor(Math.log10(max)) - first + 1) }, (_, at) => 10 ** (first + at));
}

function steps(min: number, max: number): number[] {
  const rough = (max - min) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 5, 10].find((times) => times * power >= rough) ?? 10) * power;
  const first = Math.ceil(min / step);
  return Array.from({ length: Math.max(0, Math.floor(max / step) - first + 1) }, (_, at) => Number(((first + at) * step).toPrecision(12)));
}

/**
 * The line that is nearest to a point between two axes, `share` of the way from the left one: the index of one of `lines`,
 * and how far away it is in places.
 */
export function nearest(left: Axis, right: Axis, share: number, place: number, lines: readonly number[]): { line: number; distance: number } | null {
  let found: { line: number; distance: number } | null = null;
  for (const line of lines) {
    const from = placeOf(left, left.values[line] ?? null);
    const to = placeOf(right, right.values[line] ?? null);
    const distance = Math.abs(from + (to - from) * share - place);
    if (found === null || distance < found.distance) found = { line, distance };
  }
  return found;
}

/** How good each score is, by its rank: 1 for the best, 0 for the worst. One that is far worse does not make the others alike. */
export function shadesOf(scores: readonly (number | null)[], isHigherBetter: boolean): (number | null)[] {
  const known = [...new Set(scores.filter((score) => score !== null))].sort((a, b) => (isHigherBetter ? a - b : b - a));
  const ranks = new Map(known.map((score, at) => [score, known.length < 2 ? 1 : at / (known.length - 1)]));
  return scores.map((score) => (score === null ? null : (ranks.get(score) ?? null)));
}

/** The entropy of the values in nats: 0 if they are all alike, and little if only a few lines have another one. */
export function variety(values: readonly unknown[]): number {
  const counts = new Map<string, number>();
  for (const value of values) {
    const key = JSON.stringify(value ?? null);
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  let entropy = 0;
  for (const count of counts.values()) entropy -= (count / values.length) * Math.log(count / values.length);
  return entropy;
}
