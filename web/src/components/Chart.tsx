/**
 * Curves over epochs, by uPlot. Dragging zooms, a double click shows everything; the zoom belongs to whoever draws the
 * chart and survives new points. Missing values are gaps. Charts with the same `syncKey` share their cursor.
 */

import "uplot/dist/uPlot.min.css";

import { useEffect, useLayoutEffect, useMemo, useRef, useState, type ReactNode } from "react";
import uPlot from "uplot";

import * as format from "../language/format";
import { useText } from "../language/language";
import { useTheme } from "../shell/theme";
import { positive } from "../task/smoothing";

export interface Series {
  label: string;
  /** The name of a CSS variable. */
  colour: string;
  /** `null` is a gap; `undefined` no point of this curve, over which its line goes on. */
  values: readonly (number | null | undefined)[];
  dash?: number[];
  /** Drawn behind the others, and left out of the legend. */
  isFaint?: boolean;
}

export interface ChartMark {
  x: number;
  colour: string;
  /** Drawn at the top of its line; a list beside the charts says what it means. */
  sign: string;
  /** What the legend says while the cursor is near. */
  label: string;
}

export interface ChartProps {
  title: string;
  note?: string | undefined;
  x: readonly number[];
  series: readonly Series[];
  marks?: readonly ChartMark[];
  /** Where values are missing. */
  gaps?: readonly number[];
  /** A horizontal line for comparison. */
  level?: { label: string; value: number } | undefined;
  isLog?: boolean;
  zoom?: readonly [number, number] | null;
  onZoom?: (zoom: [number, number] | null) => void;
  syncKey?: string;
  height?: number;
  /** How a place on the axis is called, if it is not an epoch. */
  place?: (x: number) => string;
}

const NEAR = 0.01; // of the width
/** With more curves than these, lines are thin and have no points under the cursor: both cost frames without a GPU. */
const CROWDED = 10;
// eslint-disable-next-line @typescript-eslint/no-unsafe-enum-assignment -- the enum exists in uPlot's types only
const LOGARITHMIC = 3 as uPlot.Scale.Distr;
const NO_MARKS: readonly ChartMark[] = [];
const NO_GAPS: readonly number[] = [];
const FRACTIONS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5];
const INCREMENTS = [0, 1, 2, 3, 4, 5, 6, 7, 8].flatMap((power) => [1, 2, 5].map((times) => times * 10 ** power));

function colourOf(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** Lines at marks and at the level to compare with, beneath the curves. */
function decorations(u: uPlot, props: ChartProps): void {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.lineWidth = devicePixelRatio;
  const above = new Map<number, number>(); // how many signs a place has
  for (const mark of props.marks ?? NO_MARKS) {
    const x = Math.round(u.valToPos(mark.x, "x", true));
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.strokeStyle = colourOf(mark.colour);
    ctx.setLineDash([4 * devicePixelRatio, 3 * devicePixelRatio]);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.fillStyle = ctx.strokeStyle;
    ctx.font = `${String(11 * devicePixelRatio)}px sans-serif`;
    ctx.textAlign = x > bbox.left + bbox.width - 12 * devicePixelRatio ? "right" : "left";
    const row = above.get(x) ?? 0;
    above.set(x, row + 1);
    ctx.fillText(mark.sign, x + (ctx.textAlign === "left" ? 2 : -2) * devicePixelRatio, bbox.top + (10 + 13 * row) * devicePixelRatio);
  }
  ctx.fillStyle = colourOf("--warn");
  const side = 4 * devicePixelRatio;
  for (const gap of props.gaps ?? NO_GAPS) {
    const x = Math.round(u.valToPos(gap, "x", true));
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.beginPath();
    ctx.moveTo(x, bbox.top + bbox.height - 1.5 * side);
    ctx.lineTo(x - side, bbox.top + bbox.height);
    ctx.lineTo(x + side, bbox.top + bbox.height);
    ctx.fill();
  }
  if (props.level !== undefined) {
    const y = Math.round(u.valToPos(props.level.value, "y", true));
    if (y >= bbox.top && y <= bbox.top + bbox.height) {
      ctx.strokeStyle = colourOf("--muted");
      ctx.setLineDash([2 * devicePixelRatio, 4 * devicePixelRatio]);
      ctx.beginPath();
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(bbox.left + bbox.width, y);
      ctx.stroke();
    }
  }
  ctx.restore();
}

/** One decimal logarithm per label: labels at each half-step would overlap. */
function logLabels(splits: number[]): (string | null)[] {
  return splits.map((split) => (Number.isInteger(Math.round(Math.log10(split) * 1e6) / 1e6) ? format.tick(split) : null));
}

function options(props: () => ChartProps, width: number, height: number, onCursor: (index: number | null) => void): uPlot.Options {
  const { series, isLog, syncKey } = props();
  const isCrowded = series.length > CROWDED;
  const axis = { stroke: colourOf("--muted"), grid: { stroke: colourOf("--line"), width: 1 }, ticks: { show: false } };
  const font = `11px ${getComputedStyle(document.body).fontFamily}`;
  return {
    width,
    height,
    padding: [8, 16, 0, 0],
    legend: { show: false },
    cursor: {
      drag: { x: true, y: false, setScale: false },
      points: { size: 6, show: !isCrowded },
      ...(syncKey === undefined ? {} : { sync: { key: syncKey, setSeries: false } }),
      bind: {
        dblclick: () => () => {
          props().onZoom?.(null);
          return null;
        },
      },
    },
    scales: {
      x: {
        time: false,
        range: (_, min, max) => {
          const zoom = props().zoom;
          if (zoom) return [zoom[0], zoom[1]];
          return min === max ? [min - 0.5, max + 0.5] : [min, max];
        },
      },
      y: isLog === true ? { distr: LOGARITHMIC } : {},
    },
    axes: [
      { ...axis, font, size: 28, incrs: props().place === undefined ? INCREMENTS : [...FRACTIONS, ...INCREMENTS] },
      {
        ...axis,
        font,
        size: 56,
        values: isLog === true ? (_, splits) => logLabels(splits) : (_, splits) => splits.map(format.tick),
      },
    ],
    series: [
      {},
      ...series.map((one) => ({
        label: one.label,
        stroke: colourOf(one.colour) + (one.isFaint === true ? "59" : ""),
        width: one.isFaint === true || isCrowded ? 1 : 1.75,
        ...(one.dash === undefined ? {} : { dash: one.dash }),
        points: { show: (u: uPlot) => u.data[0].length < 40 && one.isFaint !== true, size: 4 },
        spanGaps: false,
      })),
    ],
    hooks: {
      drawClear: [(u) => decorations(u, props())],
      setCursor: [(u) => onCursor(u.cursor.idx ?? null)],
      setSelect: [
        (u) => {
          const { left, width: selected } = u.select;
          if (selected < 4) return;
          props().onZoom?.([u.posToVal(left, "x"), u.posToVal(left + selected, "x")]);
          u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
        },
      ],
    },
  };
}

/** What a line looks like, for a legend; `colour` is the name of a CSS variable. */
function LineSign({ colour, dash }: { colour: string; dash?: string | undefined }) {
  return (
    <svg width="14" height="8" aria-hidden="true">
      <line x1="0" y1="4" x2="14" y2="4" className="swatch" stroke={`var(${colour})`} strokeDasharray={dash} />
    </svg>
  );
}

/** The mark at a place, or so close to it. */
function nearest(marks: readonly ChartMark[], x: number, distance: number): ChartMark | undefined {
  return marks.filter((mark) => Math.abs(mark.x - x) <= distance).sort((a, b) => Math.abs(a.x - x) - Math.abs(b.x - x))[0];
}

export function Chart(props: ChartProps) {
  const t = useText();
  const { resolved } = useTheme();
  const frame = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const latest = useRef(props);
  const [cursor, setCursor] = useState<number | null>(null);
  const { title, x, series, isLog = false, zoom = null, height = 200, level, marks = NO_MARKS, gaps = NO_GAPS, syncKey } = props;

  const data = useMemo(
    () => [x, ...series.map(({ values }) => (isLog ? positive(values) : values))] as unknown as uPlot.AlignedData,
    [x, series, isLog],
  );
  const look = series.map((one) => [one.label, one.colour, one.isFaint].join()).join(";");

  useLayoutEffect(() => {
    latest.current = props;
  });
  useEffect(() => {
    const element = frame.current;
    if (element === null) return;
    const made = new uPlot(options(() => latest.current, element.clientWidth, height, setCursor), undefined, element);
    plot.current = made;
    const resized = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height }));
    resized.observe(element);
    return () => {
      resized.disconnect();
      made.destroy();
    };
  }, [look, isLog, height, resolved, syncKey]);
  useEffect(() => {
    plot.current?.setData(data);
  }, [data, zoom, marks, gaps, level, look, isLog, height, resolved, syncKey]);

  const index = cursor ?? x.length - 1;
  const near = cursor === null ? undefined : nearest(marks, x[cursor] ?? 0, ((zoom?.[1] ?? x.at(-1) ?? 0) - (zoom?.[0] ?? x[0] ?? 0)) * NEAR);
  const read = useMemo(() => series.filter((one) => one.isFaint !== true), [series]);
  const summary = useMemo(() => read.map((one) => `${one.label} ${format.value(one.values[x.length - 1])}`).join(", "), [read, x]);
  return (
    <figure className="chart">
      <figcaption>
        <span className="chart-title">{title}</span>
        <span className="legend">
          {read.map((one) => (
            <span key={one.label} className="legend-entry">
              <LineSign colour={one.colour} dash={one.dash?.join(" ")} />
              {one.label} <b>{format.value(cursor === null ? one.values.findLast((value) => value !== undefined) : one.values[cursor])}</b>
            </span>
          ))}
          {level !== undefined && (
            <span className="legend-entry">
              <LineSign colour="--muted" dash="2 3" />
              {level.label} <b>{format.value(level.value)}</b>
            </span>
          )}
          <span className="legend-entry legend-epoch">
            {cursor === null ? "" : (near?.label ?? props.place?.(x[index] ?? 0) ?? t("chart.epoch", { n: format.tick(x[index] ?? 0) }))}
          </span>
        </span>
      </figcaption>
      <div ref={frame} className="chart-frame" role="img" aria-label={`${title}: ${summary}`} />
      {props.note !== undefined && <p className="chart-note">{props.note}</p>}
    </figure>
  );
}

const AHEAD = "200px";

/** What is inside exists only while it is in view, or nearly: a page of many charts costs what its visible ones cost. */
export function InView({ children }: { children: ReactNode }) {
  const frame = useRef<HTMLDivElement>(null);
  const [isVisible, setIsVisible] = useState(false);
  useEffect(() => {
    const element = frame.current;
    if (element === null) return;
    const watched = new IntersectionObserver(([entry]) => setIsVisible(entry?.isIntersecting === true), { rootMargin: AHEAD });
    watched.observe(element);
    return () => watched.disconnect();
  }, []);
  return (
    <div ref={frame} className="in-view">
      {isVisible ? children : null}
    </div>
  );
}
