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
