/** Light or dark: as the system says until one is chosen, which this browser then remembers. */

import { useSyncExternalStore } from "react";

export type Theme = "system" | "light" | "dark";

const STORED = "epochd.theme";
const listeners = new Set<() => void>();
const systemDark = matchMedia("(prefers-color-scheme: dark)");

function initial(): Theme {
  const stored = localStorage.getItem(STORED);
  return stored === "light" || stored === "dark" ? stored : "system";
}

let theme = initial();

function resolved(): "light" | "dark" {
  if (theme !== "system") return theme;
  return systemDark.matches ? "dark" : "light";
}

/** Let the page look as chosen. */
export function apply(): void {
  document.documentElement.dataset.theme = resolved();
  for (const told of listeners) told();
}

systemDark.addEventListener("change", apply);

export function choose(chosen: Theme): void {
  theme = chosen;
  if (chosen === "system") localStorage.removeItem(STORED);
  else localStorage.setItem(STORED, chosen);
  apply();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function useTheme(): { theme: Theme; resolved: "light" | "dark" } {
  return {
    theme: useSyncExternalStore(subscribe, () => theme),
    resolved: useSyncExternalStore(subscribe, resolved),
  };
}
