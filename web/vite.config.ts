import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

const server = process.env.EPOCHD_URL ?? "http://127.0.0.1:8000";

/** Relative addresses everywhere: the server puts its own path prefix into the page's `<base>`. */
export default defineConfig(({ command }) => ({
  base: command === "build" ? "./" : "/",
  plugins: [react()],
  build: {
    outDir: "../src/epochd/api/static",
    emptyOutDir: true,
    assetsInlineLimit: 0, // the Content-Security-Policy allows no data: addresses
    modulePreload: { polyfill: false },
    target: "es2022",
    reportCompressedSize: true,
  },
  server: { proxy: Object.fromEntries(["/api", "/health", "/docs"].map((path) => [path, server])) },
  test: { environment: "node", include: ["src/**/*.test.{ts,tsx}"] },
}));
