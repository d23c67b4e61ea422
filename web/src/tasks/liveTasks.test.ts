// @vitest-environment jsdom
import { expect, test } from "vitest";

import type { State, TaskLine, TaskList } from "../api/queries";
import { updated } from "./liveTasks";

const line = (task_id: string, state: State, current_epoch = 1): TaskLine => ({ task_id, state, current_epoch }) as TaskLine;
const page: TaskList = { success: true, tasks: [line("a", "running"), line("b", "pending")], total: 9, limit: 2, offset: 0 };

test("progress of a task on the page is put in its place, and nothing is asked for", () => {
  const found = updated(page, [line("a", "running", 5)], new Map());
  expect(found.page.tasks.map(({ current_epoch }) => current_epoch)).toEqual([5, 1]);
  expect(found.isOutdated).toBe(false);
  expect(page.tasks[0]?.current_epoch).toBe(1);
});

test("another state may move a task to another page", () => {
  expect(updated(page, [line("b", "running")], new Map()).isOutdated).toBe(true);
});

test("a task of another page counts when it appears or changes its state, not with each epoch", () => {
  const elsewhere = new Map<string, State>();
  expect(updated(page, [line("z", "running")], elsewhere).isOutdated).toBe(true);
  expect(updated(page, [line("z", "running", 2)], elsewhere).isOutdated).toBe(false);
  expect(updated(page, [line("z", "completed", 3)], elsewhere).isOutdated).toBe(true);
});
