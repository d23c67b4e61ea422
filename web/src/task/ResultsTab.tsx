/**
 * What the saved model scores, beside trivial predictions on the same rows; the figures of its report, for one part of
 * the rows at a time; and what can be done with the model.
 */

import { useQuery } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";

import { ApiError, type Schemas } from "../api/client";
import { isFinal, reportValues, type TaskDetail } from "../api/queries";
import { Empty, ErrorNote, Loading } from "../components/notices";
import * as format from "../language/format";
import { useText } from "../language/language";
import { SIDES, type Side } from "../router";
import { BinaryFigures } from "./results/BinaryFigures";
import { ConfusedPairs, Confusion, PerClass } from "./results/ClassFigures";
import { Examples } from "./results/Examples";
import { Importance } from "./results/Importance";
import { Members } from "./results/Members";
import { Forecasts, RegressionFigures } from "./results/RegressionFigures";
import { Scores, type Final } from "./results/Scores";
import { Use } from "./results/Use";

const route = getRouteApi("/tasks/$id");

export function ResultsTab({ detail }: { detail: TaskDetail }) {
  const t = useText();
  const final = detail.summary.metrics;
  if (!final) {
    return <Empty title={t(isFinal(detail.state) ? "results.none" : "results.later")} />;
  }
  return (
    <>
      <Scores final={final} scored={final.validation ? "validation" : "train"} />
      {final.members && <Members members={final.members} isFolds={typeof detail.config.folds === "number"} />}
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
  const { part: chosen, threshold = null } = route.useSearch();
  const navigate = route.useNavigate();
  const side = sides.find((one) => one === chosen) ?? sides[0] ?? "train";
  const choose = (next: { part?: Side; threshold?: number | undefined }): void =>
    void navigate({ search: (before) => ({ ...before, ...next }) as never, replace: true });
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
              <button key={one} type="button" aria-pressed={one === side} onClick={() => choose({ part: one })}>
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
          onThreshold={(wanted) => choose({ threshold: wanted ?? undefined })}
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
