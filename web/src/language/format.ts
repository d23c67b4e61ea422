/** Numbers, sizes and times as people read them, in the chosen language. */

import { locale, text } from "./language";

export const MISSING = "–";
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

const formats = new Map<string, Intl.NumberFormat>();

/** A format of the chosen language; making one takes longer than a hundred uses. */
function numbers(options: Intl.NumberFormatOptions = {}): Intl.NumberFormat {
  const key = `${locale()} ${JSON.stringify(options)}`;
  const known = formats.get(key);
  if (known !== undefined) return known;
  const made = new Intl.NumberFormat(locale(), options);
  formats.set(key, made);
  return made;
}

/** A measured value with four significant digits. */
export function value(given: number | null | undefined): string {
  if (given === null || given === undefined || !Number.isFinite(given)) return MISSING;
  const size = Math.abs(given);
  if (size !== 0 && (size < 1e-4 || size >= 1e7)) return given.toExponential(2);
  return numbers({ maximumSignificantDigits: 4, minimumSignificantDigits: size < 1 ? 3 : 1 }).format(given);
}

/** A number with all its digits, such as a threshold that somebody may copy. */
export function exact(given: number): string {
  return numbers({ maximumSignificantDigits: 15 }).format(given);
}

/** A number beside an axis. */
export function tick(given: number): string {
  const size = Math.abs(given);
  if (size !== 0 && (size < 1e-4 || size >= 1e6)) return given.toExponential(Number.isInteger(Math.log10(size)) ? 0 : 1);
  return numbers({ maximumSignificantDigits: 5 }).format(given);
}

/** A number of things. */
export function count(given: number | null | undefined): string {
  return given === null || given === undefined ? MISSING : numbers().format(Math.round(given));
}

export function share(given: number): string {
  return numbers({ style: "percent", maximumFractionDigits: given < 0.1 ? 1 : 0 }).format(given);
}

export function bytes(given: number | null | undefined): string {
  if (given === null || given === undefined) return MISSING;
  const power = given < 1024 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log2(given) / 10));
  const number = numbers({ maximumFractionDigits: power === 0 ? 0 : 1 });
  return `${number.format(given / 1024 ** power)} ${UNITS[power] ?? ""}`;
}

/** A length of time in its two largest units: `2 h 5 min`. */
export function duration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return MISSING;
  if (seconds < 1) return text("duration.milliseconds", { n: Math.round(seconds * 1000) });
  if (seconds < 59.95) return text("duration.seconds", { n: seconds < 10 ? seconds.toFixed(1) : Math.round(seconds) });
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return text("duration.minutes", { m: minutes, s: Math.floor(seconds % 60) });
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return text("duration.hours", { h: hours, m: minutes % 60 });
  return text("duration.days", { d: Math.floor(hours / 24), h: hours % 24 });
}

/** A moment: the time alone if it is today. */
export function moment(iso: string | null | undefined, now = new Date()): string {
  if (iso === null || iso === undefined) return MISSING;
  const at = new Date(iso);
  const isToday = at.toDateString() === now.toDateString();
  const style: Intl.DateTimeFormatOptions = isToday
    ? { timeStyle: "short" }
    : { dateStyle: at.getFullYear() === now.getFullYear() ? "medium" : "short", timeStyle: "short" };
  return new Intl.DateTimeFormat(locale(), style).format(at);
}

/** Seconds between two moments; until now if the second one is missing. */
export function between(from: string | null, to: string | null, now = Date.now()): number | null {
  return from === null ? null : Math.max(0, ((to === null ? now : Date.parse(to)) - Date.parse(from)) / 1000);
}

/** A JSON value in one line, for tables. */
export function shown(given: unknown): string {
  if (given === undefined) return MISSING;
  if (typeof given === "string") return given;
  if (Array.isArray(given) && given.every((item) => typeof item !== "object")) return given.join(", ");
  return JSON.stringify(given);
}
