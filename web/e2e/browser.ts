/** A headless Chromium that speaks to nobody but the server, with an empty profile. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { chromium, type BrowserContext, type Page } from "playwright-core";

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

export interface Visit {
  page: Page;
  context: BrowserContext;
  /** What the page has written to its console as an error, refused by its policy included. */
  errors: string[];
  /** Addresses outside the server that the page has asked for. */
  foreign: string[];
  /** Its folder, which the arguments of all its processes name. */
  profile: string;
  close: () => Promise<void>;
}

export interface Looks {
  locale?: string;
  colorScheme?: "light" | "dark";
  viewport?: { width: number; height: number };
}

/** A page in a browser of its own. */
export async function visit(origin: string, looks: Looks = {}): Promise<Visit> {
  const profile = await mkdtemp(join(tmpdir(), "epochd-browser-"));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    args: FLAGS,
    locale: looks.locale ?? "en-GB",
    colorScheme: looks.colorScheme ?? "light",
    viewport: looks.viewport ?? { width: 1360, height: 900 },
  });
  const page = context.pages()[0] ?? (await context.newPage());
  const errors: string[] = [];
  const foreign: string[] = [];
  page.on("console", (message) => {
    if (message.type() === "error") errors.push(message.text());
  });
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("request", (request) => {
    if (!request.url().startsWith(origin) && !request.url().startsWith("blob:")) foreign.push(request.url());
  });
  const close = async (): Promise<void> => {
    await context.close();
    await rm(profile, { recursive: true, force: true });
  };
  return { page, context, errors, foreign, profile, close };
}
