/** Where numbers are along an axis, which of them are written beside it, and the lines between points. */

export type Range = readonly [low: number, high: number];
export type Scale = (value: number) => number;

/** Values of the domain as places of the range; a domain of one value is in the middle. */
export function scale([low, high]: Range, [from, to]: Range): Scale {
  return low === high ? () => (from + to) / 2 : (value) => from + ((value - low) / (high - low)) * (to - from);
}

/** Round numbers in the range, at most about so many: steps of 1, 2 or 5 times a power of ten. */
export function ticks([low, high]: Range, most: number): number[] {
  if (!(high > low)) return [low];
  const rough = (high - low) / Math.max(1, most);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((times) => times * power >= rough * (1 - 1e-9)) ?? 10);
  const first = Math.ceil(low / step - 1e-9);
  const count = Math.floor(high / step + 1e-9) - first + 1;
  return Array.from({ length: count }, (_, at) => Number(((first + at) * step).toPrecision(12)));
}

/** The range of these values, wider by a share of it, so that no point lies on the frame. */
export function around(values: readonly number[], margin = 0.04): Range {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (!Number.isFinite(value)) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (low > high) return [0, 1];
  const room = high > low ? (high - low) * margin : Math.max(Math.abs(low) * 0.1, 0.5);
  return [low - room, high + room];
}

/** A line through the points as the `d` of an SVG path; a value that is missing interrupts it. */
export function line(xs: readonly number[], ys: readonly (number | null | undefined)[], x: Scale, y: Scale): string {
  let isDown = false;
  let drawn = "";
  xs.forEach((at, place) => {
    const value = ys[place];
    const isKnown = typeof value === "number" && Number.isFinite(value);
    if (isKnown) drawn += `${isDown ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
    isDown = isKnown;
  });
  return drawn;
}

/** The place of the value that is nearest to the wanted one; the first of several, -1 if there is none. */
export function nearest(values: readonly number[], wanted: number): number {
  let found = -1;
  let least = Infinity;
  values.forEach((value, at) => {
    const distance = Math.abs(value - wanted);
    if (distance < least) [found, least] = [at, distance];
  });
  return found;
}
