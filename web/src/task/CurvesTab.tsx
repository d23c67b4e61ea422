/** The curves of a training: one chart for each metric, with what happened, and how they are looked at in the address. */

import { getRouteApi } from "@tanstack/react-router";
import { useCallback, useMemo } from "react";

import type { State, TaskDetail } from "../api/queries";
import { Chart, InView, type ChartMark, type ChartProps, type Series } from "../components/Chart";
import { baselineName, metricName } from "../components/metrics";
import { Empty } from "../components/notices";
import * as format from "../language/format";
import { useText, type Text } from "../language/language";
import type { Changes } from "../router";
import { column, groups, type Curves, type Group, type MarkKind, type Row } from "./curves";
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

/** The values of one side, and, if they are smoothed, the raw ones behind them. */
function lines(label: string, colour: string, values: (number | null)[], smoothing: number, dash?: number[]): Series[] {
  const line = dash === undefined ? {} : { dash };
  if (smoothing === 0) return [{ label, colour, values, ...line }];
  return [
    { label: `${label} raw`, colour, values, isFaint: true },
    { label, colour, values: smoothed(values, smoothing), ...line },
  ];
}

function note(t: Text, all: readonly Series[], isLog: boolean): string | undefined {
  const raw = all.filter((one) => one.isFaint === true || all.length < 3);
  const missing = raw.reduce((sum, { values }) => sum + gaps(values), 0);
  const below = isLog && raw.some(({ values }) => values.some((value) => typeof value === "number" && value <= 0));
  const notes = [...(missing > 0 ? [t("chart.gaps", { n: missing })] : []), ...(below ? [t("chart.not_positive")] : [])];
  return notes.length === 0 ? undefined : notes.join(" ");
}

type Shared = Pick<ChartProps, "x" | "marks" | "zoom" | "onZoom" | "syncKey" | "isLog">;

interface MetricProps extends Shared {
  group: Group;
  rows: readonly Row[];
  smoothing: number;
  level: ChartProps["level"];
}

/** A metric of both sides; it is computed only while it is in view. */
function MetricChart({ group, rows, smoothing, level, ...shared }: MetricProps) {
  const t = useText();
  const { name, train, validation } = group;
  const series = useMemo(
    () => [
      ...(train === null ? [] : lines(t("chart.train"), TRAIN, column(rows, train), smoothing, [6, 3])),
      ...(validation === null ? [] : lines(t("chart.validation"), VALIDATION, column(rows, validation), smoothing)),
    ],
    [rows, train, validation, smoothing, t],
  );
  return <Chart title={metricName(name)} series={series} level={level} note={note(t, series, shared.isLog === true)} {...shared} />;
}

function PlainChart({ field, rows, ...shared }: Shared & { field: "learning_rate" | "time_per_epoch"; rows: readonly Row[] }) {
  const t = useText();
  const label = t(`chart.${field}`);
  const series = useMemo(() => [{ label, colour: "--series-3", values: column(rows, field) }], [rows, field, label]);
  return <Chart title={label} series={series} {...shared} />;
}

export function CurvesTab({ curves, detail, state }: { curves: Curves; detail: TaskDetail; state: State }) {
  const t = useText();
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const { log: isLog = false, smooth = 0, zoom = null } = search;
  const { rows } = curves;

  const change = useCallback(
    (next: Changes<typeof search>) => void navigate({ search: (before) => ({ ...before, ...next }) as never, replace: true }),
    [navigate],
  );
  const onZoom = useCallback(
    (wanted: [number, number] | null) => change({ zoom: wanted === null ? undefined : [rounded(wanted[0]), rounded(wanted[1])] }),
    [change],
  );
  const x = useMemo(() => rows.map((row) => row.epoch), [rows]);
  const marks = useMemo<ChartMark[]>(() => {
    const best = curves.bestEpoch === null ? [] : [{ epoch: curves.bestEpoch, kind: "best" as const }];
    return [...best, ...curves.marks].map(({ epoch, kind }) => ({ x: epoch, colour: MARK_COLOURS[kind] }));
  }, [curves.bestEpoch, curves.marks]);

  if (rows.length === 0) {
    return <Empty title={t(state === "running" || state === "pending" ? "chart.waiting" : "chart.none")} />;
  }
  const shared = { x, marks, zoom, onZoom, isLog, syncKey: detail.task_id };
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
                {weight === 0 ? t("chart.off") : format.tick(weight)}
              </option>
            ))}
          </select>
        </label>
        {zoom === null ? (
          <span className="hint">{t("chart.how_to_zoom")}</span>
        ) : (
          <button type="button" className="button" onClick={() => onZoom(null)}>
            {t("chart.show_all")}
          </button>
        )}
      </div>
      <div className="charts">
        {groups(rows, detail.main_metric).map((group) => (
          <InView key={group.name}>
            <MetricChart group={group} rows={rows} smoothing={smooth} level={levelOf(detail, group.name)} {...shared} />
          </InView>
        ))}
        {(["learning_rate", "time_per_epoch"] as const).map((field) => (
          <InView key={field}>
            <PlainChart field={field} rows={rows} {...shared} />
          </InView>
        ))}
      </div>
      <Happened curves={curves} />
    </>
  );
}

const rounded = (epoch: number): number => Math.round(epoch * 100) / 100;

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
