/** What the saved model scores, beside trivial predictions on the same rows, and which classes it takes for which. */

import type { Schemas } from "../api/client";
import { isFinal, type TaskDetail } from "../api/queries";
import { baselineName, isBetter, metricName, METRICS } from "../components/metrics";
import { Empty } from "../components/notices";
import { TableFrame } from "../components/TableFrame";
import * as format from "../language/format";
import { useText } from "../language/language";

type Final = Schemas["FinalMetrics"];
type Side = "validation" | "test" | "train";
type Values = Record<string, number | null | undefined>;

const SIDES: readonly Side[] = ["validation", "test", "train"];

/** The best baseline of a side in one metric. */
function best(final: Final, side: Side, metric: string): { name: string; value: number } | null {
  let found: { name: string; value: number } | null = null;
  for (const baseline of final.baselines[side] ?? []) {
    const value = (baseline as unknown as Values)[metric];
    if (typeof value === "number" && (found === null || isBetter(metric, value, found.value))) found = { name: baseline.name, value };
  }
  return found;
}

export function ResultsTab({ detail }: { detail: TaskDetail }) {
  const t = useText();
  const final = detail.summary.metrics;
  if (!final) {
    return <Empty title={t(isFinal(detail.state) ? "results.none" : "results.later")} />;
  }
  const scored: Side = final.validation ? "validation" : "train";
  return (
    <>
      <Scores final={final} scored={scored} />
      {SIDES.filter((side) => side !== "train" || scored === "train").map((side) => (
        <Confusion key={side} metrics={final[side] ?? null} side={side} />
      ))}
      <PerClass metrics={final[scored] ?? null} />
      <dl className="facts">
        {detail.artifact !== null && (
          <>
            <dt>{t("results.folder")}</dt>
            <dd>
              <code>{detail.artifact}</code>
            </dd>
          </>
        )}
        {typeof final.decision_threshold === "number" && (
          <>
            <dt>{t("results.threshold")}</dt>
            <dd>{format.value(final.decision_threshold)}</dd>
          </>
        )}
        <dt>{t("results.verified")}</dt>
        <dd>{t(final.verified === true ? "results.yes" : "results.no")}</dd>
      </dl>
    </>
  );
}

export function Scores({ final, scored }: { final: Final; scored: Side }) {
  const t = useText();
  const sides = SIDES.filter((side) => final[side]);
  const rows = METRICS.filter((metric) => sides.some((side) => typeof (final[side] as unknown as Values)[metric] === "number"));
  return (
    <TableFrame label={t("results.scores")}>
      <table className="table">
        <caption>{t("results.scores")}</caption>
        <thead>
          <tr>
            <th>{t("results.metric")}</th>
            {sides.map((side) => (
              <th key={side} className="number">
                {t(`side.${side}`)} <span className="muted">({format.count(final[side]?.rows)})</span>
              </th>
            ))}
            <th>{t("results.baseline", { side: t(`side.${scored}`) })}</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((metric) => {
            const baseline = best(final, scored, metric);
            const value = (final[scored] as unknown as Values)[metric];
            const isGood = baseline !== null && typeof value === "number" && isBetter(metric, value, baseline.value);
            return (
              <tr key={metric} data-main={metric === final.main_metric}>
                <th scope="row">{metricName(metric)}</th>
                {sides.map((side) => (
                  <td key={side} className="number">
                    {format.value((final[side] as unknown as Values)[metric])}
                  </td>
                ))}
                <td>
                  {baseline === null ? (
                    format.MISSING
                  ) : (
                    <span className={isGood ? "versus versus-better" : "versus versus-worse"}>
                      <span aria-hidden="true">{isGood ? "▲" : "▼"}</span> <span className="number">{format.value(baseline.value)}</span>{" "}
                      {baselineName(baseline.name)}
                      <span className="visually-hidden">{t(isGood ? "baseline.better" : "baseline.worse")}</span>
                    </span>
                  )}
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </TableFrame>
  );
}

const SHADES = 5;

/** Rows are true classes, columns predicted ones; the shade is the share of the row. */
function Confusion({ metrics, side }: { metrics: Schemas["SideMetrics"] | null; side: Side }) {
  const t = useText();
  const matrix = metrics?.confusion_matrix;
  const labels = metrics?.per_class?.map(({ label }) => String(label)) ?? [];
  if (!matrix || matrix.length === 0 || matrix.length > 40) return null;
  return (
    <TableFrame label={t("results.confusion", { side: t(`side.${side}`) })}>
      <table className="table confusion">
        <caption>{t("results.confusion", { side: t(`side.${side}`) })}</caption>
        <thead>
          <tr>
            <th scope="col">{t("results.true")}</th>
            {labels.map((label) => (
              <th key={label} scope="col" className="number">
                {label}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {matrix.map((row, at) => {
            const sum = row.reduce((a, b) => a + b, 0);
            return (
              <tr key={labels[at]}>
                <th scope="row">{labels[at]}</th>
                {row.map((cell, column) => (
                  <td key={labels[column]} className="number" data-shade={sum === 0 ? 0 : Math.ceil((cell / sum) * SHADES)} data-right={at === column}>
                    {format.count(cell)}
                  </td>
                ))}
              </tr>
            );
          })}
        </tbody>
      </table>
    </TableFrame>
  );
}

function PerClass({ metrics }: { metrics: Schemas["SideMetrics"] | null }) {
  const t = useText();
  const classes = metrics?.per_class;
  if (!classes || classes.length === 0) return null;
  return (
    <TableFrame label={t("results.per_class")}>
      <table className="table">
        <caption>{t("results.per_class")}</caption>
        <thead>
          <tr>
            <th>{t("results.class")}</th>
            {(["precision", "recall", "f1"] as const).map((metric) => (
              <th key={metric} className="number">
                {metricName(metric)}
              </th>
            ))}
            <th className="number">{t("results.support")}</th>
            <th className="number">{t("results.predicted")}</th>
          </tr>
        </thead>
        <tbody>
          {classes.map((one) => (
            <tr key={String(one.label)}>
              <th scope="row">{String(one.label)}</th>
              <td className="number">{format.value(one.precision)}</td>
              <td className="number">{format.value(one.recall)}</td>
              <td className="number">{format.value(one.f1)}</td>
              <td className="number">{format.count(one.support)}</td>
              <td className="number">{format.count(one.predicted)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </TableFrame>
  );
}
