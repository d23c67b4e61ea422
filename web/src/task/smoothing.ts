/**
 * Smoothing of a curve: an exponential mean over all its values, from the first epoch, with the correction of its
 * start. Values that are missing stay missing. What is zoomed to has no effect on it.
 */

/** `weight` of the past, from 0 (the values themselves) to below 1. */
export function smoothed(values: readonly (number | null)[], weight: number): (number | null)[] {
  let mean = 0;
  let total = 0;
  return values.map((value) => {
    if (value === null || !Number.isFinite(value)) return null;
    mean = mean * weight + value * (1 - weight);
    total = total * weight + (1 - weight);
    return mean / total;
  });
}

/** The values that a logarithmic axis can show. */
export function positive(values: readonly (number | null | undefined)[]): (number | null | undefined)[] {
  return values.map((value) => (typeof value === "number" && value <= 0 ? null : value));
}

/** How many values are missing between the first and the last one that exist. */
export function gaps(values: readonly (number | null | undefined)[]): number {
  const first = values.findIndex((value) => typeof value === "number");
  const last = values.findLastIndex((value) => typeof value === "number");
  return first < 0 ? 0 : values.slice(first, last).filter((value) => value === null).length;
}
