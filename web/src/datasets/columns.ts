/** What the profile of a dataset says of one column, whatever its kind. */

import type { Schemas } from "../api/client";
import * as format from "../language/format";

export interface Column {
  name: string;
  type: string;
  kind: string;
  missing: number;
  notation: string | null;
  distinct?: number;
  distinct_is_estimate?: boolean;
  top?: readonly { value: unknown; count: number }[];
  min?: unknown;
  max?: unknown;
  mean?: unknown;
  histogram?: { edges: readonly unknown[]; counts: readonly number[] } | null;
}

/** The profiles of all columns; none while the dataset is being read. */
export function columnsOf(dataset: Schemas["DatasetDetail"]): readonly Column[] {
  return (dataset.profile ?? []);
}

const TOP = 4;

/** The range of numbers and dates, or the most frequent values. */
export function valuesOf({ min, max, top = [] }: Column): string {
  if (typeof min === "number" && typeof max === "number") return `${format.tick(min)} … ${format.tick(max)}`;
  if (typeof min === "string" && typeof max === "string") return `${min} … ${max}`;
  return top.slice(0, TOP).map(({ value }) => format.shown(value)).join(", ");
}

/** How high the bars of a column are: of its histogram, or of its most frequent values. */
export function barsOf({ histogram, top = [] }: Column): readonly number[] {
  return histogram?.counts ?? top.map(({ count }) => count);
}

/** What somebody has said of how a column is read. */
export interface ColumnOptions {
  type?: string;
  decimal?: string;
  format?: string;
  timezone?: string;
  last_year?: number;
  missing?: readonly string[];
}

export type Columns = Readonly<Record<string, ColumnOptions>>;

/** The options of all columns with one changed; nothing is left of what says nothing. */
export function withOption(columns: Columns, name: string, option: keyof ColumnOptions, value: unknown): Columns | undefined {
  const others = Object.entries(columns).filter(([key]) => key !== name);
  // A type has formats and separators of its own.
  const kept = option === "type" ? Object.entries(columns[name] ?? {}).filter(([key]) => key === "missing") : Object.entries(columns[name] ?? {}).filter(([key]) => key !== option);
  const isEmpty = value === undefined || (Array.isArray(value) && value.length === 0);
  const own = isEmpty ? kept : [...kept, [option, value]];
  const all = own.length === 0 ? others : [...others, [name, Object.fromEntries(own) as ColumnOptions]];
  return all.length === 0 ? undefined : (Object.fromEntries(all) as Columns);
}

/** Where the bars of a histogram are, in words: `0 … 10: 5`. */
export function barLabels({ histogram, top = [] }: Column): readonly string[] {
  if (!histogram) return top.map(({ value, count }) => `${format.shown(value)}: ${format.count(count)}`);
  const end = (at: number): string => {
    const edge = histogram.edges[at];
    return typeof edge === "number" ? format.tick(Number(edge.toPrecision(4))) : String(edge);
  };
  return histogram.counts.map((count, at) => `${end(at)} … ${end(at + 1)}: ${format.count(count)}`);
}
