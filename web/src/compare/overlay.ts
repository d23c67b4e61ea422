/** The curves of several trainings on one axis: by epoch, by step of the optimizer, or by seconds of training. */

import type { Series } from "../components/Chart";
import type { Row } from "../task/curves";
import { lookOf } from "./colours";

export const AXES = ["epoch", "step", "time"] as const;
export type By = (typeof AXES)[number];

export interface Curve {
  label: string;
  place: number;
  rows: readonly Row[];
  /** Null where it is not known, as before a training has started. */
  stepsPerEpoch: number | null;
}

/** Where the rows of a curve are; empty if that is not known. */
function places({ rows, stepsPerEpoch }: Curve, by: By): number[] {
  if (by === "epoch") return rows.map(({ epoch }) => epoch);
  if (by === "step") return stepsPerEpoch === null ? [] : rows.map(({ epoch }) => epoch * stepsPerEpoch);
  return rows.map((row) => row.elapsed_seconds ?? 0);
}

/** Several curves on one axis, `x`: `undefined` is no point of a curve. */
export function aligned(curves: readonly ReadonlyMap<number, number | null>[]): { x: number[]; values: (number | null | undefined)[][] } {
  const x = [...new Set(curves.flatMap((one) => [...one.keys()]))].sort((a, b) => a - b);
  return { x, values: curves.map((one) => x.map((place) => one.get(place))) };
}

/** Each curve has a value only where it has a point: of its validation rows, or of its training rows if it never has others. */
export function overlaid(curves: readonly Curve[], metric: string, by: By): { x: number[]; series: Series[] } {
  const points = curves.map((curve) => {
    const at = places(curve, by);
    const side = curve.rows.some((row) => typeof row[`val_${metric}`] === "number") ? "val" : "train";
    return new Map(at.map((place, row) => [place, curve.rows[row]?.[`${side}_${metric}`] ?? null]));
  });
  const { x, values } = aligned(points);
  const series = curves.map(({ label, place }, at) => {
    const { colour, dash } = lookOf(place);
    return { label, colour: `--series-${colour}`, values: values[at] ?? [], ...(dash === undefined ? {} : { dash }) };
  });
  return { x, series };
}

/** How many steps an epoch of a training has. Trainings of older versions have not reported it, but it follows from their rows. */
export function stepsPerEpoch(summary: object, config: Readonly<Record<string, unknown>>): number | null {
  const { steps_per_epoch: steps, rows } = summary as { steps_per_epoch?: number; rows?: { train?: number } };
  if (typeof steps === "number") return steps;
  return typeof rows?.train === "number" && typeof config.batch_size === "number" ? Math.ceil(rows.train / config.batch_size) : null;
}
