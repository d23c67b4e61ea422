/**
 * What the saved model scores, beside trivial predictions on the same rows; the figures of its report, for one part of
 * the rows at a time; and what can be done with the model.
 */

import { useQuery } from "@tanstack/react-query";
import { useState } from "react";

import { ApiError, type Schemas } from "../api/client";
import { isFinal, reportValues, type TaskDetail } from "../api/queries";
import { baselineName, isBetter, metricName, METRICS } from "../components/metrics";
import { Empty, ErrorNote, Loading } from "../components/notices";
import { TableFrame } from "../components/TableFrame";
import * as format from "../language/format";
import { useText } from "../language/language";
import { BinaryFigures } from "./results/BinaryFigures";
import { ConfusedPairs, Confusion, PerClass } from "./results/ClassFigures";
import { Examples } from "./results/Examples";
import { Importance } from "./results/Importance";
import { Forecasts, RegressionFigures } from "./results/RegressionFigures";
import { Use } from "./results/Use";

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
  return (
    <>
      <Scores final={final} scored={final.validation ? "validation" : "train"} />
      <Figures detail={detail} final={final} />
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
      {detail.artifact === null ? <p className="hint">{t("results.removed")}</p> : <Use id={detail.task_id} />}
    </>
  );
}

/** The figures of one part of the rows. What the report lacks is left out, with the reason. */
function Figures({ detail, final }: { detail: TaskDetail; final: Final }) {
  const t = useText();
  const { data: report, error, refetch } = useQuery({ ...reportValues(detail.task_id), enabled: detail.artifact !== null });
  const sides = SIDES.filter((side) => final[side]);
  const [side, setSide] = useState<Side>(sides[0] ?? "train");
  const [threshold, setThreshold] = useState<number | null>(null);
  const metrics = final[side];
  const part = report?.parts.find(({ name }) => name === side);
  const classification = part?.classification ?? null;
  const target = format.shown(detail.config.target_column);
  const name = t(`side.${side}`);
  const isMissing = error instanceof ApiError && error.status === 404;
  if (!metrics) return null;
  return (
    <>
      {sides.length > 1 && (
        <div className="toolbar">
          <span id="part-label">{t("results.part")}</span>
          <div className="segments" role="group" aria-labelledby="part-label">
            {sides.map((one) => (
              <button key={one} type="button" aria-pressed={one === side} onClick={() => setSide(one)}>
                {t(`side.${one}`)}
              </button>
            ))}
          </div>
        </div>
      )}
      {detail.artifact !== null && report === undefined && (error === null ? <Loading lines={4} /> : isMissing ? <p className="note">{error.message}</p> : <ErrorNote error={error} onRetry={() => void refetch()} />)}
      {report !== undefined && <Notes detail={detail} part={part} side={side} />}
      {part && classification?.binary ? (
        <BinaryFigures
          binary={classification.binary}
          rows={part.rows}
          labels={classification.labels}
          target={target}
          decision={report?.decision_threshold ?? 0.5}
          threshold={threshold}
          onThreshold={setThreshold}
        />
      ) : (
        <Confusion metrics={metrics} title={t("results.confusion", { side: name })} />
      )}
      <ConfusedPairs figures={classification} />
      <PerClass metrics={metrics} figures={classification} title={t("results.per_class", { side: name })} />
      {part?.regression && <RegressionFigures regression={part.regression} target={target} />}
      {part && <Forecasts key={side} forecasts={part.forecasts} target={target} />}
      {report?.importances && <Importance importances={report.importances} task={report.task} labels={report.labels} />}
      {part && <Examples worst={part.worst} best={part.best} />}
    </>
  );
}

/** What the figures count, where that is not all rows or not as the metrics do. */
function Notes({ detail, part, side }: { detail: TaskDetail; part: Schemas["Part"] | undefined; side: Side }) {
  const t = useText();
  const { horizon, weight_column: weight } = detail.config;
  const notes = [
    ...(part === undefined ? [t("results.no_part", { side: t(`side.${side}`) })] : []),
    ...(part !== undefined && part.rows < part.total ? [t("results.sample", { rows: format.count(part.rows), total: format.count(part.total) })] : []),
    ...(Array.isArray(horizon) ? [t("results.horizon", { n: Math.max(...horizon) })] : []),
    ...(typeof weight === "string" ? [t("results.weighted", { column: weight })] : []),
  ];
  return notes.length === 0 ? null : <p className="hint results-notes">{notes.join(" ")}</p>;
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

