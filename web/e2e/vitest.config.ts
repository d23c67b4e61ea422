import { defineConfig } from "vitest/config";

/** Tests with a browser and a real server: one at a time, since each starts both. */
export default defineConfig({
  test: {
    root: import.meta.dirname,
    include: ["*.test.ts"],
    environment: "node",
    testTimeout: 120_000,
    hookTimeout: 60_000,
    fileParallelism: false,
    expect: { poll: { timeout: 30_000 } }, // as Playwright waits for an element
  },
});
