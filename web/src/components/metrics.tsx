/** Metrics: their names in both languages, which direction is better, and a value beside what it is compared with. */

import { CATALOGUE, type Key } from "../language/catalogue";
import * as format from "../language/format";
import { text, useText } from "../language/language";

const LOWER_IS_BETTER = new Set(["loss", "log_loss", "brier", "mae", "rmse", "mape", "smape"]);

export const METRICS = [
  "loss", "accuracy", "auc", "average_precision", "f1", "f1_weighted", "precision", "recall", "balanced_accuracy",
  "log_loss", "brier", "top_5_accuracy", "r2", "mae", "rmse", "mape", "smape",
] as const;

/** The name of a metric as people write it; what has none is shown as it is. */
export function metricName(name: string): string {
  const key = `metric.${name}`;
  return key in CATALOGUE ? text(key as Key) : name.replaceAll("_", " ");
}

export function isBetter(name: string, value: number, other: number): boolean {
  return LOWER_IS_BETTER.has(name) ? value < other : value > other;
}

/** The name of a baseline in the chosen language. */
export function baselineName(name: string): string {
  const key = `baseline.${name.replaceAll(" ", "_")}`;
  return key in CATALOGUE ? text(key as Key) : name;
}

export interface BesideProps {
  metric: string;
  value: number | null | undefined;
  baseline: { name: string; value: number } | null | undefined;
}

/** A value, and the baseline in small print; a sign and a word say which is better. */
export function Beside({ metric, value, baseline }: BesideProps) {
  const t = useText();
  if (value === null || value === undefined) return <span className="number muted">{format.MISSING}</span>;
  if (baseline === null || baseline === undefined) return <span className="number">{format.value(value)}</span>;
  const better = isBetter(metric, value, baseline.value);
  return (
    <span className="beside">
      <span className="number">{format.value(value)}</span>
      <span className={better ? "versus versus-better" : "versus versus-worse"} title={`${t(better ? "baseline.better" : "baseline.worse")}: ${baselineName(baseline.name)}`}>
        <span aria-hidden="true">{better ? "▲" : "▼"}</span> <span className="number">{format.value(baseline.value)}</span>
        <span className="visually-hidden">
          {t(better ? "baseline.better" : "baseline.worse")}: {baselineName(baseline.name)}
        </span>
      </span>
    </span>
  );
}
