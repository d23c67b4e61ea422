/** Chinese or English: the browser's language until one is chosen, which this browser then remembers. */

import { useSyncExternalStore } from "react";

import { CATALOGUE, type Key } from "./catalogue";

export type Language = "en" | "zh";
export type Values = Record<string, string | number>;
export type Text = (key: Key, values?: Values) => string;

const STORED = "epochd.language";
const listeners = new Set<() => void>();

function initial(): Language {
  const stored = localStorage.getItem(STORED);
  if (stored === "en" || stored === "zh") return stored;
  return navigator.languages.find((name) => /^(en|zh)/.test(name))?.startsWith("zh") ? "zh" : "en";
}

let language = initial();

export const currentLanguage = (): Language => language;

/** The locale of numbers and times: the browser's own, if it is one of the chosen language. */
export function locale(): string {
  return navigator.languages.find((name) => name.startsWith(language)) ?? (language === "zh" ? "zh-CN" : "en");
}

export function choose(chosen: Language): void {
  language = chosen;
  localStorage.setItem(STORED, chosen);
  document.documentElement.lang = chosen === "zh" ? "zh-CN" : "en";
  for (const told of listeners) told();
}

/** The text of a key, with its `{places}` filled in; `{n:task|tasks}` is the word that goes with the number. */
export function text(key: Key, values: Values = {}, spoken: Language = language): string {
  return CATALOGUE[key][spoken === "en" ? 0 : 1]
    .replace(/\{(\w+):([^|}]*)\|([^}]*)\}/g, (_, name: string, one: string, several: string) =>
      String(values[name]) === "1" ? one : several,
    )
    .replace(/\{(\w+)\}/g, (place, name: string) => String(values[name] ?? place));
}

/** Call this after each change of the language. */
export const onLanguage = (listener: () => void): (() => void) => subscribe(listener);

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export const useLanguage = (): Language => useSyncExternalStore(subscribe, currentLanguage);

/** The texts in the chosen language; a component that uses them is drawn again when it changes. */
export function useText(): Text {
  const spoken = useLanguage();
  return (key, values) => text(key, values, spoken);
}
