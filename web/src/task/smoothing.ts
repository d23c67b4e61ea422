/**
 * Smoothing of a curve: an exponential mean over all its values, from the first epoch, with the correction of its
 * start. Values that are missing stay missing. What is zoomed to has no effect on it.
 */

/**
 * `weight` of the past after one epoch, from 0 (the values themselves) to below 1. Without `epochs`, the epoch of each
 * value, they are those of one epoch after the other.
 */
export function smoothed(values: readonly (number | null)[], weight: number, epochs?: readonly number[]): (number | null)[] {
  let mean = 0;
  let total = 0;
  return values.map((value, at) => {
    if (value === null || !Number.isFinite(value)) return null;
    const passed = at === 0 ? 1 : (epochs?.[at] ?? 1) - (epochs?.[at - 1] ?? 0);
    const kept = weight ** Math.max(1, passed);
    mean = mean * kept + value * (1 - kept);
    total = total * kept + (1 - kept);
    return mean / total;
  });
}

/** The values that a logarithmic axis can show. */
export function positive(values: readonly (number | null | undefined)[]): (number | null | undefined)[] {
  return values.map((value) => (typeof value === "number" && value <= 0 ? null : value));
}
