/** Each page in both themes, both languages and on a phone: nothing serious for axe, no refused script, no request elsewhere. */

import { mkdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";

import type { Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { visit, type Looks } from "./browser";
import { Server } from "./server";

const SHOTS = process.env.EPOCHD_SHOTS ?? resolve(import.meta.dirname, "../test-results");
const AXE = createRequire(import.meta.url).resolve("axe-core");
const LOOKS: Record<string, Looks> = {
  light: {},
  dark: { colorScheme: "dark", locale: "zh-CN" },
  phone: { viewport: { width: 390, height: 844 }, locale: "zh-CN" },
};

let server: Server;
let id = "";
let digits = "";
let diabetes = "";
let paused = "";

beforeAll(async () => {
  await mkdir(SHOTS, { recursive: true });
  server = await Server.start();
  id = await server.train({ dataset: "breast_cancer", name: "Breast cancer", epochs: 60, dropout_rate: 0.4, early_stopping_patience: null, output_path: "/models/breast_cancer" });
  digits = await server.train({ dataset: "digits", name: "Digits, wide", epochs: 12, hidden_units: [128, 64] });
  diabetes = await server.train({ dataset: "diabetes", name: "Diabetes", epochs: 20 });
  await server.train({ dataset: "wine", name: "Wine, too fast", epochs: 20, learning_rate: 10, optimizer: "sgd", max_rollbacks: 0 });
  paused = await server.train({ dataset: "digits", name: "Digits, long", epochs: 100_000, early_stopping_patience: null });
  await server.reached(id, "completed");
  await server.reached(paused, "running");
  await server.train({ dataset: "iris", name: "Iris, next" });
}, 120_000);

afterAll(() => server.close());

interface Violation {
  id: string;
  impact: string;
  nodes: { html: string }[];
}

async function serious(page: Page): Promise<string[]> {
  await page.evaluate(await readFile(join(dirname(AXE), "axe.min.js"), "utf8"));
  const found = await page.evaluate(async () => {
    const { axe } = globalThis as unknown as { axe: { run: () => Promise<{ violations: Violation[] }> } };
    return (await axe.run()).violations;
  });
  return found
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map((violation) => `${violation.id}: ${violation.nodes.map(({ html }) => html.slice(0, 160)).join(" | ")}`);
}

describe.each(Object.entries(LOOKS))("in %s", (look, looks) => {
  test("every page is fine", async () => {
    const { page, errors, foreign, close } = await visit(new URL(server.url).origin, looks);
    const pages: Record<string, string> = {
      tasks: "tasks",
      task: `tasks/${id}`,
      running: `tasks/${paused}?log=true&smooth=0.9`,
      results: `tasks/${id}?tab=results`,
      results_classes: `tasks/${digits}?tab=results`,
      results_number: `tasks/${diabetes}?tab=results`,
      config: `tasks/${id}?tab=config`,
      log: `tasks/${id}?tab=log`,
      start: "start?dataset=breast_cancer",
      compare: `compare?ids=${encodeURIComponent(JSON.stringify([id, paused]))}`,
      parallel: "compare?all=true",
      models: "models",
      model: `models/${id}`,
      datasets: "datasets",
      dataset: "datasets/wine",
      system: "system",
    };
    const problems: string[] = [];
    for (const [name, path] of Object.entries(pages)) {
      await page.goto(server.url + path);
      await page.getByRole("heading").first().waitFor();
      if (name.startsWith("results")) await page.locator(".plot").first().waitFor();
      await page.waitForTimeout(700); // charts are drawn after their data have arrived
      await page.screenshot({ path: join(SHOTS, `${name}-${look}.png`) });
      problems.push(...(await serious(page)).map((problem) => `${name}: ${problem}`));
      const width = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (width > 0) problems.push(`${name}: ${String(width)} pixels wider than the window`);
    }
    await close();
    expect(problems).toEqual([]);
    expect(errors).toEqual([]);
    expect(foreign).toEqual([]);
  });
});
