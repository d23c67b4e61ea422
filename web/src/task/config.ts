/** How a config differs from the defaults, or from other configs. */

import type { Config } from "../api/queries";

export interface Option {
  name: string;
  value: unknown;
  /** `undefined` if the option has no default. */
  preset: unknown;
  isChanged: boolean;
}

export function isEqual(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== "object" && typeof b !== "object") return (a ?? null) === (b ?? null);
  return JSON.stringify(sorted(a ?? null)) === JSON.stringify(sorted(b ?? null));
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => a.localeCompare(b)).map(([key, one]) => [key, sorted(one)]));
}

/** The options of a config in the order of its schema, those without a default as changed. */
export function compared(config: Config, schema: { properties?: Record<string, { default?: unknown }> }): Option[] {
  const known = schema.properties ?? {};
  const order = [...Object.keys(known), ...Object.keys(config).filter((name) => !(name in known))];
  return order
    .filter((name) => name in config)
    .map((name) => {
      const preset = known[name]?.default;
      return { name, value: config[name], preset, isChanged: !isEqual(config[name], preset) };
    });
}

/** What a client would send for this config: only what is not a default. */
export function shortest(config: Config, schema: { properties?: Record<string, { default?: unknown }> }): Config {
  return Object.fromEntries(compared(config, schema).filter(({ isChanged }) => isChanged).map(({ name, value }) => [name, value]));
}

/** The options in which some of these configs differ. */
export function differing(configs: readonly Config[]): string[] {
  const names = new Set(configs.flatMap((config) => Object.keys(config)));
  return [...names].filter((name) => configs.some((config) => !isEqual(config[name], configs[0]?.[name])));
}
