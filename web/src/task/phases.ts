/** The phases of a training as parts of its time. */

import type { Schemas } from "../api/client";

export const PHASES = ["queue", "start", "data", "compile", "train", "validate", "checkpoint", "pack"] as const;

export interface Part {
  phase: (typeof PHASES)[number];
  seconds: number;
  /** Of the whole time: how much of it, and where this part of the bar begins. */
  share: number;
  from: number;
}

/** The phases that took time, in their order. */
export function shares(timings: Schemas["Timings"]): { total: number; parts: Part[] } {
  const total = PHASES.reduce((sum, phase) => sum + timings[phase], 0);
  let from = 0;
  const parts = PHASES.filter((phase) => timings[phase] > 0).map((phase) => {
    const part = { phase, seconds: timings[phase], share: timings[phase] / total, from };
    from += part.share;
    return part;
  });
  return { total, parts };
}
