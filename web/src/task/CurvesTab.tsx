/** The curves of a training: one chart for each metric, with what happened, and how they are looked at in the address. */

import { getRouteApi } from "@tanstack/react-router";
import { useCallback, useMemo } from "react";

import type { State, TaskDetail } from "../api/queries";
import { Chart, type ChartMark, type Series } from "../components/Chart";
import { baselineName, metricName } from "../components/metrics";
import { Empty } from "../components/notices";
import * as format from "../language/format";
import { useText, type Text } from "../language/language";
import type { Changes } from "../router";
import { groups, type Curves, type Group, type MarkKind, type Row } from "./curves";
import { gaps, smoothed } from "./smoothing";

const route = getRouteApi("/tasks/$id");
const SMOOTHINGS = [0, 0.6, 0.8, 0.9, 0.95];
const TRAIN = "--series-1";
const VALIDATION = "--series-2";

const MARK_COLOURS: Record<MarkKind, string> = {
  best: "--good",
  pause: "--muted",
  resume: "--accent",
  restart: "--warn",
  changed: "--accent",
  rollback: "--bad",
  early: "--warn",
  cancelled: "--bad",
  failed: "--bad",
};

/** The values of one side, and, if they are smoothed, the smooth curve before them. */
function series(label: string, colour: string, values: (number | null)[] | null, smoothing: number, dash?: number[]): Series[] {
  if (values === null) return [];
  const line = dash === undefined ? {} : { dash };
  if (smoothing === 0) return [{ label, colour, values, ...line }];
  return [
    { label: `${label} raw`, colour, values, isFaint: true },
    { label, colour, values: smoothed(values, smoothing), ...line },
  ];
}

function note(t: Text, group: Group, isLog: boolean): string | undefined {
  const missing = gaps(group.train ?? []) + gaps(group.validation ?? []);
  const all = [...(group.train ?? []), ...(group.validation ?? [])];
  const below = isLog && all.some((value) => value !== null && value <= 0);
  const notes = [...(missing > 0 ? [t("chart.gaps", { n: missing })] : []), ...(below ? [t("chart.not_positive")] : [])];
  return notes.length === 0 ? undefined : notes.join(" ");
}

export function CurvesTab({ curves, detail, state }: { curves: Curves; detail: TaskDetail; state: State }) {
  const t = useText();
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const { log: isLog = false, smooth = 0, zoom } = search;
  const { rows } = curves;

  const change = useCallback(
    (next: Changes<typeof search>) => void navigate({ search: (before) => ({ ...before, ...next }) as never, replace: true }),
    [navigate],
  );
  const onZoom = useCallback(
    (wanted: [number, number] | null) => change({ zoom: wanted === null ? undefined : [Math.round(wanted[0] * 100) / 100, Math.round(wanted[1] * 100) / 100] }),
    [change],
  );
  const x = useMemo(() => rows.map((row) => row.epoch), [rows]);
  const charts = useMemo(() => {
    const found = groups(rows, detail.main_metric);
    return found.map((group) => ({
      group,
      series: [
        ...series(t("chart.train"), TRAIN, group.train, smooth, [6, 3]),
        ...series(t("chart.validation"), VALIDATION, group.validation, smooth),
      ],
    }));
  }, [rows, detail.main_metric, smooth, t]);
  const plain = useMemo(
    () => (["learning_rate", "time_per_epoch"] as const).map((key) => ({ key, series: [{ label: t(`chart.${key}`), colour: "--series-3", values: values(rows, key) }] })),
    [rows, t],
  );
  const marks = useMemo<ChartMark[]>(() => {
    const best = curves.bestEpoch === null ? [] : [{ epoch: curves.bestEpoch, kind: "best" as const, detail: "" }];
    return [...best, ...curves.marks].map(({ epoch, kind }) => ({ x: epoch, label: t(`mark.${kind}`), colour: MARK_COLOURS[kind] }));
  }, [curves.bestEpoch, curves.marks, t]);

  if (rows.length === 0) {
    return <Empty title={t(state === "running" || state === "pending" ? "chart.waiting" : "chart.none")} />;
  }
  const shared = { x, marks, zoom: zoom ?? null, onZoom, syncKey: detail.task_id };
  return (
    <>
      <div className="toolbar">
        <label className="inline">
          <input type="checkbox" checked={isLog} onChange={(event) => change({ log: event.target.checked ? true : undefined })} /> {t("chart.log")}
        </label>
        <label className="inline">
          {t("chart.smoothing")}{" "}
          <select value={String(smooth)} onChange={(event) => change({ smooth: Number(event.target.value) > 0 ? Number(event.target.value) : undefined })}>
            {[...new Set([...SMOOTHINGS, smooth])].map((weight) => (
              <option key={weight} value={String(weight)}>
                {weight === 0 ? t("chart.off") : format.value(weight)}
              </option>
            ))}
          </select>
        </label>
        {zoom === undefined ? (
          <span className="hint">{t("chart.how_to_zoom")}</span>
        ) : (
          <button type="button" className="button" onClick={() => onZoom(null)}>
            {t("chart.show_all")}
          </button>
        )}
      </div>
      <div className="charts">
        {charts.map(({ group, series: lines }) => (
          <Chart
            key={group.name}
            title={metricName(group.name)}
            series={lines}
            isLog={isLog}
            level={levelOf(detail, group.name)}
            note={note(t, group, isLog)}
            height={group.name === charts[0]?.group.name ? 240 : 200}
            {...shared}
          />
        ))}
        {plain.map(({ key, series: lines }) => (
          <Chart key={key} title={t(`chart.${key}`)} series={lines} isLog={isLog} {...shared} />
        ))}
      </div>
      <Happened curves={curves} />
    </>
  );
}

function values(rows: readonly Row[], key: string): (number | null)[] {
  return rows.map((row) => row[key] ?? null);
}

/** The best baseline in the metric that the task is compared in. */
function levelOf(detail: TaskDetail, metric: string): { label: string; value: number } | undefined {
  if (detail.baseline === null || metric !== detail.main_metric) return undefined;
  return { label: baselineName(detail.baseline.name), value: detail.baseline.value };
}

/** What the lines in the charts stand for. */
function Happened({ curves }: { curves: Curves }) {
  const t = useText();
  const best = curves.bestEpoch === null ? [] : [{ epoch: curves.bestEpoch, kind: "best" as const, detail: "" }];
  return (
    <ul className="marks" aria-label={t("mark.label")}>
      {[...best, ...curves.marks].map(({ epoch, kind, detail }, at) => (
        <li key={`${kind}${epoch}.${at}`} data-kind={kind}>
          <b>{t(`mark.${kind}`)}</b> {t("mark.after", { n: format.count(epoch) })}
          {detail !== "" && <span className="hint"> {detail}</span>}
        </li>
      ))}
    </ul>
  );
}
