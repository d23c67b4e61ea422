import { describe, expect, test } from "vitest";

import { bestThreshold, countsOf, scoresOf, type Binary } from "./threshold";

/** Ten rows, four of them positive: the thresholds and what is above them. */
const BINARY: Binary = {
  positive: "yes",
  positives: 4,
  roc: null,
  precision_recall: null,
  thresholds: [],
  levels: { thresholds: [0, 0.3, 0.6, 1], true_positives: [4, 3, 2, 0], false_positives: [6, 1, 0, 0] },
  calibration: [],
};
const ALL = countsOf(BINARY, 10);

describe("counts", () => {
  test("every row is counted once at each threshold", () => {
    for (const counts of ALL) {
      expect(counts.truePositives + counts.falseNegatives).toBe(4);
      expect(counts.falsePositives + counts.trueNegatives).toBe(6);
    }
    expect(ALL[1]).toEqual({ threshold: 0.3, truePositives: 3, falsePositives: 1, trueNegatives: 5, falseNegatives: 1 });
  });
});

describe("scores", () => {
  test("they follow from the counts", () => {
    expect(ALL[1] && scoresOf(ALL[1])).toEqual({
      accuracy: 0.8,
      balanced_accuracy: (3 / 4 + 5 / 6) / 2,
      precision: 0.75,
      recall: 0.75,
      f1: 0.75,
      share: 0.4,
      falsePositiveRate: 1 / 6,
    });
  });
  test("a share of nothing is missing, not 0 and not NaN", () => {
    expect(ALL[3] && scoresOf(ALL[3])).toMatchObject({ precision: null, recall: 0, f1: 0, share: 0 });
    const [none] = countsOf({ ...BINARY, positives: 0, levels: { thresholds: [0.5], true_positives: [0], false_positives: [0] } }, 0);
    expect(none && scoresOf(none)).toEqual({
      accuracy: null,
      balanced_accuracy: null,
      precision: null,
      recall: null,
      f1: null,
      share: null,
      falsePositiveRate: null,
    });
  });
});

describe("the best threshold", () => {
  test("is that of the best score", () => {
    expect(bestThreshold(ALL, "f1")).toBe(0.3);
  });
  test("is the nearest to 0.5 of several", () => {
    const levels = { thresholds: [0.1, 0.45, 0.9], true_positives: [4, 4, 4], false_positives: [0, 0, 0] };
    expect(bestThreshold(countsOf({ ...BINARY, levels }, 10), "f1")).toBe(0.45);
  });
  test("there is none where no threshold has the score", () => {
    expect(bestThreshold(countsOf({ ...BINARY, positives: 10 }, 10), "balanced_accuracy")).toBeNull();
  });
});
