/** What follows from a threshold: the counts that the report has for some of them, and the scores of these counts. */

import type { Schemas } from "../../api/client";

export type Binary = Schemas["Binary"];

/** Rows by true and predicted class; a row with a higher probability than the threshold is predicted positive. */
export interface Counts {
  threshold: number;
  truePositives: number;
  falsePositives: number;
  trueNegatives: number;
  falseNegatives: number;
}

export interface ThresholdScores {
  accuracy: number | null;
  balanced_accuracy: number | null;
  precision: number | null;
  recall: number | null;
  f1: number | null;
  /** The share of rows that are predicted positive. */
  share: number | null;
  /** Where the threshold is on the ROC curve. */
  falsePositiveRate: number | null;
}

/** Null for a part of nothing. */
const ratio = (part: number, whole: number): number | null => (whole === 0 ? null : part / whole);

export function countsOf(binary: Binary, rows: number): Counts[] {
  const { thresholds, true_positives, false_positives } = binary.levels;
  return thresholds.map((threshold, at) => {
    const truePositives = true_positives[at] ?? 0;
    const falsePositives = false_positives[at] ?? 0;
    return {
      threshold,
      truePositives,
      falsePositives,
      trueNegatives: rows - binary.positives - falsePositives,
      falseNegatives: binary.positives - truePositives,
    };
  });
}

export function scoresOf(counts: Counts): ThresholdScores {
  const { truePositives: hits, falsePositives: alarms, trueNegatives, falseNegatives: missed } = counts;
  const rows = hits + alarms + trueNegatives + missed;
  const recall = ratio(hits, hits + missed);
  const specificity = ratio(trueNegatives, trueNegatives + alarms);
  return {
    accuracy: ratio(hits + trueNegatives, rows),
    balanced_accuracy: recall === null || specificity === null ? null : (recall + specificity) / 2,
    precision: ratio(hits, hits + alarms),
    recall,
    f1: ratio(2 * hits, 2 * hits + alarms + missed),
    share: ratio(hits + alarms, rows),
    falsePositiveRate: ratio(alarms, alarms + trueNegatives),
  };
}

/** The threshold with the best score, the nearest to 0.5 of several; null if none has the score. */
export function bestThreshold(all: readonly Counts[], score: "f1" | "balanced_accuracy"): number | null {
  let found: number | null = null;
  let best = -Infinity;
  for (const counts of all) {
    const value = scoresOf(counts)[score];
    if (value === null || value < best) continue;
    if (value > best || found === null || Math.abs(counts.threshold - 0.5) < Math.abs(found - 0.5)) found = counts.threshold;
    best = value;
  }
  return found;
}
