/**
 * Long curves in fewer rows: every so many epochs, a *bucket*, become two rows with the minimum and the maximum of each
 * metric, in their order, so that no peak disappears. The server does the same (`api/tasks/curves.py`); a page does it
 * again when many epochs have followed. Extremes of extremes are exact.
 */

export type Row = Readonly<Record<string, number | null>> & { readonly epoch: number };

/** Rows in the order of epochs; each of the first is one of the two of its bucket, unless `bucket` is 1. */
export interface Thinned {
  readonly rows: readonly Row[];
  readonly bucket: number;
  /** For each metric the first epochs of the buckets in which some of its values are missing. */
  readonly missing: Readonly<Record<string, readonly number[]>>;
}

export const EVERY: Thinned = { rows: [], bucket: 1, missing: {} };
const PLACES = new Set(["epoch", "elapsed_seconds"]);

/** At most so many rows, plus those of incomplete buckets. */
export function thinned({ rows, bucket, missing }: Thinned, points: number): Thinned {
  const epochs = (rows.at(-1)?.epoch ?? 0) - (rows[0]?.epoch ?? 0) + 1;
  let size = bucket;
  while ((2 * epochs) / size > points) size *= 2; // a multiple, so that no bucket is divided
  const reduced: Row[] = [];
  const lacking: Record<string, number[]> = Object.fromEntries(Object.entries(missing).map(([name, at]) => [name, [...at]]));
  for (let first = 0; first < rows.length; ) {
    const index = indexOf(rows[first], size);
    let end = first + 1;
    while (end < rows.length && indexOf(rows[end], size) === index) end += 1;
    reduced.push(...extremes(rows.slice(first, end), lacking));
    first = end;
  }
  return { rows: reduced, bucket: size, missing: lacking };
}

function indexOf(row: Row | undefined, size: number): number {
  return Math.floor(((row?.epoch ?? 1) - 1) / size);
}

type Values = Record<string, number | null> & { epoch: number };

/** The two rows of the rows of a bucket; one stays as it is. */
function extremes(rows: readonly Row[], lacking: Record<string, number[]>): readonly Row[] {
  const first = rows[0];
  const last = rows.at(-1);
  if (first === undefined || last === undefined || first === last) return rows;
  const before: Values = { epoch: first.epoch, elapsed_seconds: first.elapsed_seconds ?? 0 };
  const after: Values = { epoch: last.epoch, elapsed_seconds: last.elapsed_seconds ?? 0 };
  for (const name of new Set(rows.flatMap((row) => Object.keys(row)))) {
    if (PLACES.has(name)) continue;
    const values = rows.flatMap((row) => (typeof row[name] === "number" ? [row[name]] : []));
    if (values.length > 0 && values.length < rows.length) (lacking[name] ??= []).push(first.epoch);
    const low = values.reduce((a, b) => Math.min(a, b), Infinity);
    const high = values.reduce((a, b) => Math.max(a, b), -Infinity);
    const isRising = values.indexOf(low) <= values.indexOf(high);
    before[name] = values.length === 0 ? null : isRising ? low : high;
    after[name] = values.length === 0 ? null : isRising ? high : low;
  }
  return [before, after];
}
