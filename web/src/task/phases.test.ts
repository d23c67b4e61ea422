import { expect, test } from "vitest";

import { CATALOGUE } from "../language/catalogue";
import { PHASES, shares } from "./phases";

const none = { queue: 0, start: 0, data: 0, compile: 0, train: 0, validate: 0, checkpoint: 0, pack: 0 };

test("parts follow each other and add up to the whole; phases without time are left out", () => {
  const { total, parts } = shares({ ...none, start: 1, train: 2, pack: 1 });
  expect(total).toBe(4);
  expect(parts).toEqual([
    { phase: "start", seconds: 1, share: 0.25, from: 0 },
    { phase: "train", seconds: 2, share: 0.5, from: 0.25 },
    { phase: "pack", seconds: 1, share: 0.25, from: 0.75 },
  ]);
});

test("a task that has not begun has no parts", () => {
  expect(shares(none)).toEqual({ total: 0, parts: [] });
});

test("each phase has its name and what it is in both languages", () => {
  const known = new Set(Object.keys(CATALOGUE));
  expect(PHASES.filter((phase) => !known.has(`timings.${phase}`) || !known.has(`timings.${phase}.what`))).toEqual([]);
});
