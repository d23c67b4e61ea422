/** How fast the pages are, on a server that `benchmarks/dashboard.py` has filled; without it, nothing is measured. */

import { execFileSync } from "node:child_process";
import { writeFile } from "node:fs/promises";

import type { CDPSession, Page } from "playwright-core";
import { expect, test } from "vitest";

import { visit } from "./browser";

interface Given {
  url: string;
  /** Tasks with long histories. */
  ids: string[];
  running: string;
  minutes: number;
  /** The file for the figures. */
  found: string;
}

const given = JSON.parse(process.env.EPOCHD_FIGURES ?? "null") as Given | null;
const STREAM_SECONDS = 20;

interface Frames {
  fps: number;
  worst: number;
}

/** Frames while something is done. */
async function frames(page: Page, act: () => Promise<void>): Promise<Frames> {
  await page.evaluate(() => {
    const times: number[] = [];
    const window = globalThis as unknown as { times: number[]; isOver: boolean };
    window.times = times;
    window.isOver = false;
    const next = (at: number): void => {
      times.push(at);
      if (!window.isOver) requestAnimationFrame(next);
    };
    requestAnimationFrame(next);
  });
  await act();
  return page.evaluate(() => {
    const window = globalThis as unknown as { times: number[]; isOver: boolean };
    window.isOver = true;
    const { times } = window;
    const gaps = times.slice(1).map((at, index) => at - (times[index] ?? at));
    return { fps: (1000 * gaps.length) / gaps.reduce((sum, gap) => sum + gap, 0), worst: Math.max(...gaps) };
  });
}

const shown = ({ fps, worst }: Frames): string => `${fps.toFixed(0)} fps, worst frame ${worst.toFixed(0)} ms`;

/** Seconds of processor time of all processes of the browser. */
function processorSeconds(profile: string): number {
  const lines = execFileSync("ps", ["-eo", "cputimes,args"], { encoding: "utf8", maxBuffer: 1 << 26 }).split("\n");
  const own = lines.filter((line) => line.includes("chromium") && line.includes(profile));
  return own.reduce((sum, line) => sum + Number(line.trim().split(/\s+/)[0]), 0);
}

async function heap(session: CDPSession): Promise<number> {
  await session.send("HeapProfiler.collectGarbage");
  const { usedSize } = await session.send("Runtime.getHeapUsage");
  return usedSize / 2 ** 20;
}

test.skipIf(given === null)(
  "the pages are fast",
  async () => {
    if (given === null) return;
    const { url, ids, running, minutes } = given;
    const figures: Record<string, string> = {};
    const { page, context, errors, profile, close } = await visit(url);
    const session = await context.newCDPSession(page);

    let bytes = 0;
    await session.send("Network.enable");
    session.on("Network.loadingFinished", ({ encodedDataLength }) => (bytes += encodedDataLength));
    await page.goto(`${url}/tasks`);
    await page.getByRole("row").nth(50).waitFor();
    const paint = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? 0);
    figures["first paint"] = `${paint.toFixed(0)} ms`;
    figures["transferred for Tasks, with its data"] = `${(bytes / 1000).toFixed(0)} kB`;

    figures["scroll the table of 5,000 tasks, live"] = shown(
      await frames(page, async () => {
        for (let step = 0; step < 60; step += 1) await page.mouse.wheel(0, step < 30 ? 120 : -120);
      }),
    );
    const began = performance.now();
    for (let turn = 0; turn < 10; turn += 1) {
      const before = await page.getByRole("row").nth(1).textContent();
      await page.getByRole("button", { name: "Next" }).click();
      await expect.poll(() => page.getByRole("row").nth(1).textContent(), { interval: 10 }).not.toBe(before);
    }
    figures["another page of 5,000 tasks"] = `${((performance.now() - began) / 10).toFixed(0)} ms`;

    await page.goto(`${url}/compare?ids=${encodeURIComponent(JSON.stringify(ids))}&metric=loss`);
    await page.getByLabel(`Draw all ${String(ids.length)} curves`).check();
    const chart = page.locator(".u-over").first();
    await chart.waitFor();
    await page.waitForTimeout(5_000);
    const box = await chart.boundingBox();
    if (box === null) throw new Error("the chart has no place");
    const middle = box.y + box.height / 2;
    figures["move over 20 curves of 20,000 epochs"] = shown(
      await frames(page, async () => {
        for (let step = 0; step <= 100; step += 1) await page.mouse.move(box.x + (box.width * step) / 101, middle);
      }),
    );
    figures["zoom 20 curves of 20,000 epochs, 10 times"] = shown(
      await frames(page, async () => {
        for (let turn = 0; turn < 10; turn += 1) {
          await page.mouse.move(box.x + box.width * 0.2, middle);
          await page.mouse.down();
          await page.mouse.move(box.x + box.width * 0.8, middle, { steps: 15 });
          await page.mouse.up();
        }
      }),
    );
    figures["scroll beside 20 curves of 20,000 epochs"] = shown(
      await frames(page, async () => {
        for (let step = 0; step < 60; step += 1) await page.mouse.wheel(0, step < 30 ? 120 : -120);
      }),
    );

    await page.goto(`${url}/tasks/${running}`);
    await page.getByRole("img").first().waitFor();
    const epochs = async (): Promise<number> => Number(((await page.getByTestId("epochs").textContent()) ?? "0").split("/")[0]?.replaceAll(",", ""));
    await page.waitForTimeout(3_000);
    const before = [processorSeconds(profile), await epochs(), performance.now()] as const;
    await page.waitForTimeout(STREAM_SECONDS * 1000);
    const after = [processorSeconds(profile), await epochs(), performance.now()] as const;
    const seconds = (after[2] - before[2]) / 1000;
    figures["events per second of the live task"] = ((after[1] - before[1]) / seconds).toFixed(0);
    figures["processor for its page"] = `${((100 * (after[0] - before[0])) / seconds).toFixed(0)} % of a core`;

    const sizes = [await heap(session)];
    for (let passed = 0; passed < minutes; passed += minutes / 6) {
      await page.waitForTimeout((minutes / 6) * 60_000);
      sizes.push(await heap(session));
    }
    figures[`heap of its page in ${String(minutes)} min`] = `${sizes.map((size) => size.toFixed(1)).join(", ")} MiB`;
    figures["epochs at the end"] = String(await epochs());
    await close();
    await writeFile(given.found, JSON.stringify(figures));
    expect(errors).toEqual([]);
  },
  60 * 60_000,
);
