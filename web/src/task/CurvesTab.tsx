/** The curves of a training: one chart for each metric, with what happened, and how they are looked at in the address. */

import { useQuery } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { useCallback, useMemo } from "react";

import { curvesPart, type State, type TaskDetail } from "../api/queries";
import { Chart, InView, type ChartMark, type ChartProps, type Series } from "../components/Chart";
import { baselineName, metricName } from "../components/metrics";
import { Empty } from "../components/notices";
import * as format from "../language/format";
import { useText, type Text } from "../language/language";
import type { Changes } from "../router";
import { column, groups, POINTS, type Curves, type Group, type Mark, type MarkKind, type Row } from "./curves";
import { smoothed } from "./smoothing";
import type { Thinned } from "./thinning";

const route = getRouteApi("/tasks/$id");
const SMOOTHINGS = [0, 0.6, 0.8, 0.9, 0.95];
const TRAIN = "--series-1";
const VALIDATION = "--series-2";

const SIGNS: Record<MarkKind, { sign: string; colour: string }> = {
  best: { sign: "★", colour: "--good" },
  pause: { sign: "‖", colour: "--muted" },
  resume: { sign: "▸", colour: "--accent" },
  restart: { sign: "↻", colour: "--warn" },
  changed: { sign: "✎", colour: "--accent" },
  rollback: { sign: "↶", colour: "--bad" },
  early: { sign: "■", colour: "--warn" },
  cancelled: { sign: "■", colour: "--bad" },
  failed: { sign: "✕", colour: "--bad" },
};

/** The values of one side, and, if they are smoothed, the raw ones behind them. */
function lines(label: string, colour: string, rows: readonly Row[], field: string, smoothing: number, dash?: number[]): Series[] {
  const values = column(rows, field);
  const line = dash === undefined ? {} : { dash };
  if (smoothing === 0) return [{ label, colour, values, ...line }];
  return [
    { label: `${label} raw`, colour, values, isFaint: true },
    { label, colour, values: smoothed(values, smoothing, rows.map(({ epoch }) => epoch)), ...line },
  ];
}

function note(t: Text, all: readonly Series[], isLog: boolean, missing: number, bucket: number): string | undefined {
  const below = isLog && all.some(({ values }) => values.some((value) => typeof value === "number" && value <= 0));
  const notes = [
    ...(bucket > 1 ? [t("chart.thinned", { n: bucket })] : []),
    ...(missing > 0 ? [t("chart.gaps", { n: missing })] : []),
    ...(below ? [t("chart.not_positive")] : []),
  ];
  return notes.length === 0 ? undefined : notes.join(" ");
}

/** The epochs at which a metric has values elsewhere, but not there. */
function gapsOf({ rows, missing }: Thinned, fields: readonly (string | null)[]): number[] {
  const found = new Set<number>();
  for (const field of fields) {
    if (field === null) continue;
    const values = column(rows, field);
    if (values.every((value) => value === null)) continue;
    rows.forEach((row, at) => {
      if (values[at] === null) found.add(row.epoch);
    });
    for (const epoch of missing[field] ?? []) found.add(epoch);
  }
  return [...found].sort((a, b) => a - b);
}

type Shared = Pick<ChartProps, "x" | "marks" | "zoom" | "onZoom" | "syncKey" | "isLog">;

interface MetricProps extends Shared {
  group: Group;
  shown: Thinned;
  smoothing: number;
  level: ChartProps["level"];
}

/** A metric of both sides; it is computed only while it is in view. */
function MetricChart({ group, shown, smoothing, level, ...shared }: MetricProps) {
  const t = useText();
  const { name, train, validation } = group;
  const { rows, bucket } = shown;
  const missing = useMemo(() => gapsOf(shown, [train, validation]), [shown, train, validation]);
  const series = useMemo(
    () => [
      ...(train === null ? [] : lines(t("chart.train"), TRAIN, rows, train, smoothing, [6, 3])),
      ...(validation === null ? [] : lines(t("chart.validation"), VALIDATION, rows, validation, smoothing)),
    ],
    [rows, train, validation, smoothing, t],
  );
  const remark = note(t, series, shared.isLog === true, missing.length, bucket);
  return <Chart title={metricName(name)} series={series} level={level} gaps={missing} note={remark} {...shared} />;
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
  const shown = useShown(curves, detail.task_id, smooth === 0 ? zoom : null); // smoothing is over the whole series
  const { rows } = shown;

  const change = useCallback(
    (next: Changes<typeof search>) => void navigate({ search: (before) => ({ ...before, ...next }) as never, replace: true }),
    [navigate],
  );
  const onZoom = useCallback(
    (wanted: [number, number] | null) => change({ zoom: wanted === null ? undefined : [rounded(wanted[0]), rounded(wanted[1])] }),
    [change],
  );
  const x = useMemo(() => rows.map((row) => row.epoch), [rows]);
  const marks = useMemo<ChartMark[]>(
    () =>
      marksOf(curves).map(({ epoch, kind, detail }) => ({
        x: epoch,
        ...SIGNS[kind],
        label: [t(`mark.${kind}`), t("mark.after", { n: format.count(epoch) }), detail].filter(Boolean).join(" "),
      })),
    [curves, t],
  );

  if (curves.rows.length === 0) {
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
        {groups(curves.rows, detail.main_metric).map((group) => (
          <InView key={group.name}>
            <MetricChart group={group} shown={shown} smoothing={smooth} level={levelOf(detail, group.name)} {...shared} />
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

function marksOf({ bestEpoch, marks }: Curves): readonly Mark[] {
  return bestEpoch === null ? marks : [{ epoch: bestEpoch, kind: "best", detail: "" }, ...marks];
}

/**
 * What the charts draw: all rows, or, if these stand for several epochs each, those of the zoomed part as exactly as the
 * server has them. The newest rows follow in both.
 */
function useShown(curves: Curves, id: string, zoom: readonly [number, number] | null): Thinned {
  const first = Math.max(1, Math.floor(zoom?.[0] ?? 1));
  const last = Math.max(first, Math.ceil(zoom?.[1] ?? 1));
  const { data: part } = useQuery({ ...curvesPart(id, first, last, POINTS), enabled: zoom !== null && curves.bucket > 1 });
  return useMemo(() => {
    if (zoom === null || curves.bucket === 1 || part === undefined) return curves;
    const rows = part.rows as unknown as Row[];
    return { rows: [...rows, ...curves.rows.filter(({ epoch }) => epoch > part.last)], bucket: part.bucket, missing: part.missing };
  }, [curves, part, zoom]);
}

/** What the lines in the charts stand for. */
function Happened({ curves }: { curves: Curves }) {
  const t = useText();
  return (
    <ul className="marks" aria-label={t("mark.label")}>
      {marksOf(curves).map(({ epoch, kind, detail }, at) => (
        <li key={`${kind}${epoch}.${at}`} data-kind={kind}>
          <span className="mark-sign" aria-hidden="true">
            {SIGNS[kind].sign}
          </span>{" "}
          <b>{t(`mark.${kind}`)}</b> {t("mark.after", { n: format.count(epoch) })}
          {detail !== "" && <span className="hint"> {detail}</span>}
        </li>
      ))}
    </ul>
  );
}
