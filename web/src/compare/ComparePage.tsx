/**
 * Several tasks beside each other: one metric of each over epochs or time, what differs in their configs, and their
 * best scores. A colour belongs to a task's id as long as it is compared.
 */

import { useQueries, useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { useMemo, useState } from "react";

import { task, tasks, type Config, type TaskDetail } from "../api/queries";
import { Chart, type Series } from "../components/Chart";
import { Beside, isBetter, metricName, METRICS } from "../components/metrics";
import { Empty, ErrorNote, Loading, StateBadge } from "../components/notices";
import { TableFrame } from "../components/TableFrame";
import * as format from "../language/format";
import { useText } from "../language/language";
import type { Changes } from "../router";
import { differing } from "../task/config";
import type { Row } from "../task/curves";
import { useCurves } from "../task/training";

const route = getRouteApi("/compare");
const DRAWN = 10;
const OFFERED = 30;
const NO_IDS: string[] = [];

type Values = Record<string, number | null | undefined>;

export function ComparePage() {
  const t = useText();
  const { ids = NO_IDS } = route.useSearch();
  return (
    <>
      <div className="page-head">
        <h1>{t("nav.compare")}</h1>
      </div>
      <div className="compare">
        <Picker ids={ids} />
        {ids.length === 0 ? <Empty title={t("compare.none")} /> : <Compared ids={ids} />}
      </div>
    </>
  );
}

/** The newest tasks to choose from; those that are chosen stay in the list. */
function Picker({ ids }: { ids: readonly string[] }) {
  const t = useText();
  const navigate = route.useNavigate();
  const [name, setName] = useState("");
  const { data, error } = useQuery(tasks({ name: name === "" ? undefined : name, sort: "-created", limit: OFFERED, offset: 0 }));
  const change = (id: string, isChosen: boolean): void => {
    const next = isChosen ? [...ids, id] : ids.filter((one) => one !== id);
    void navigate({ search: (before) => ({ ...before, ids: next.length === 0 ? undefined : next }) as never, replace: true });
  };
  return (
    <aside className="picker" aria-label={t("compare.choose")}>
      <input type="search" className="search" placeholder={t("tasks.search")} aria-label={t("tasks.search")} value={name} onChange={(event) => setName(event.target.value)} />
      <ErrorNote error={error} />
      {data === undefined ? (
        <Loading />
      ) : (
        <ul>
          {data.tasks.map((line) => (
            <li key={line.task_id}>
              <label className="inline">
                <input type="checkbox" checked={ids.includes(line.task_id)} onChange={(event) => change(line.task_id, event.target.checked)} /> {line.name}
                <span className="hint">
                  {line.model_type} · {line.dataset} · {line.task_id.slice(-6)}
                </span>
              </label>
            </li>
          ))}
        </ul>
      )}
    </aside>
  );
}

interface Answers<T> {
  found: T[];
  failures: Error[];
}

function answers<T>(results: readonly { data?: T | undefined; error: Error | null }[]): Answers<T> {
  return {
    found: results.flatMap(({ data }) => (data === undefined ? [] : [data])),
    failures: results.flatMap(({ error }) => (error === null ? [] : [error])),
  };
}

function colour(at: number): string {
  return `--series-${(at % 8) + 1}`;
}

function Compared({ ids }: { ids: readonly string[] }) {
  const t = useText();
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const { by = "epoch", log: isLog = false, zoom } = search;
  const [isAll, setIsAll] = useState(false);
  const { found, failures } = useQueries({ queries: ids.map((id) => task(id)), combine: answers<TaskDetail> });
  const drawn = useMemo(() => (isAll ? ids : ids.slice(0, DRAWN)), [ids, isAll]);
  const curves = useCurves(drawn);
  const change = (next: Changes<typeof search>): void => {
    void navigate({ search: (before) => ({ ...before, ...next }) as never, replace: true });
  };
  const names = METRICS.filter((name) => found.some((detail) => name in detail.best_metrics));
  const metric = search.metric ?? names[0] ?? "loss";
  const { x, series } = useMemo(
    () => overlaid(drawn.map((id) => ({ id, label: labelOf(found, id), rows: curves.get(id)?.rows ?? [] })), metric, by),
    [drawn, found, curves, metric, by],
  );
  return (
    <div className="compared">
      {failures.map((error) => (
        <ErrorNote key={error.message} error={error} />
      ))}
      <div className="toolbar">
        <label className="inline">
          {t("results.metric")}{" "}
          <select value={metric} onChange={(event) => change({ metric: event.target.value, zoom: undefined })}>
            {names.map((name) => (
              <option key={name} value={name}>
                {metricName(name)}
              </option>
            ))}
          </select>
        </label>
        <label className="inline">
          {t("compare.by")}{" "}
          <select value={by} onChange={(event) => change({ by: event.target.value === "time" ? "time" : undefined, zoom: undefined })}>
            <option value="epoch">{t("compare.epoch")}</option>
            <option value="time">{t("compare.time")}</option>
          </select>
        </label>
        <label className="inline">
          <input type="checkbox" checked={isLog} onChange={(event) => change({ log: event.target.checked ? true : undefined })} /> {t("chart.log")}
        </label>
        {ids.length > DRAWN && (
          <label className="inline">
            <input type="checkbox" checked={isAll} onChange={(event) => setIsAll(event.target.checked)} /> {t("compare.draw_all", { n: ids.length })}
          </label>
        )}
      </div>
      {x.length > 0 && (
        <Chart
          title={`${metricName(metric)} · ${t(by === "time" ? "compare.time" : "compare.epoch")}`}
          x={x}
          series={series}
          isLog={isLog}
          zoom={zoom ?? null}
          onZoom={(wanted) => change({ zoom: wanted ?? undefined })}
          height={320}
        />
      )}
      <Ranking details={found} ids={ids} metric={metric} />
      <Differences details={found} />
    </div>
  );
}

function labelOf(details: readonly TaskDetail[], id: string): string {
  const name = details.find(({ task_id }) => task_id === id)?.name;
  return name === undefined ? id.slice(-6) : `${name} ${id.slice(-6)}`;
}

interface Curve {
  id: string;
  label: string;
  rows: readonly Row[];
}

/** The curves on one axis: each has a value only where it has a point. */
function overlaid(curves: readonly Curve[], metric: string, by: "epoch" | "time"): { x: number[]; series: Series[] } {
  const points = curves.map(
    ({ rows }) =>
      new Map(
        rows.map((row) => [
          by === "time" ? (row.elapsed_seconds ?? 0) : row.epoch,
          row[`val_${metric}`] ?? row[`train_${metric}`] ?? null,
        ]),
      ),
  );
  const x = [...new Set(points.flatMap((one) => [...one.keys()]))].sort((a, b) => a - b);
  return { x, series: curves.map(({ label }, at) => ({ label, colour: colour(at), values: x.map((place) => (points[at]?.has(place) ? points[at].get(place) ?? null : undefined)) })) };
}

/** The best score first. */
function Ranking({ details, ids, metric }: { details: readonly TaskDetail[]; ids: readonly string[]; metric: string }) {
  const t = useText();
  const scored = details.map((detail) => ({ detail, value: (detail.best_metrics as Values)[metric] ?? null }));
  scored.sort((a, b) => (a.value === null ? 1 : b.value === null ? -1 : isBetter(metric, a.value, b.value) ? -1 : 1));
  return (
    <TableFrame label={t("compare.ranking", { metric: metricName(metric) })}>
      <table className="table">
        <caption>{t("compare.ranking", { metric: metricName(metric) })}</caption>
        <tbody>
          {scored.map(({ detail, value }, at) => (
            <tr key={detail.task_id}>
              <td className="number">{at + 1}</td>
              <td>
                <span className="dot" data-colour={(ids.indexOf(detail.task_id) % 8) + 1} aria-hidden="true" />{" "}
                <Link to="/tasks/$id" params={{ id: detail.task_id }}>
                  {detail.name} <span className="id">{detail.task_id.slice(-6)}</span>
                </Link>
              </td>
              <td>
                <StateBadge state={detail.state} />
              </td>
              <td>
                <Beside metric={metric} value={value} baseline={metric === detail.main_metric ? detail.baseline : null} />
              </td>
              <td className="number">{format.duration(format.between(detail.started_at, detail.finished_at))}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </TableFrame>
  );
}

function Differences({ details }: { details: readonly TaskDetail[] }) {
  const t = useText();
  const names = differing(details.map(({ config }) => config as Config));
  if (details.length < 2) return null;
  if (names.length === 0) return <p className="hint">{t("compare.same")}</p>;
  return (
    <TableFrame label={t("compare.differences")}>
      <table className="table">
        <caption>{t("compare.differences")}</caption>
        <thead>
          <tr>
            <th>{t("config.option")}</th>
            {details.map(({ task_id }) => (
              <th key={task_id}>
                <code>{task_id.slice(-6)}</code>
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {names.map((name) => (
            <tr key={name}>
              <th scope="row">
                <code>{name}</code>
              </th>
              {details.map(({ task_id, config }) => (
                <td key={task_id} className="cut">
                  {format.shown((config as Config)[name])}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </TableFrame>
  );
}
