/**
 * Many trainings at once, on a canvas: a line for each, an axis for each option in which they differ and for each score.
 * Dragging along an axis filters; the fields below do the same by keyboard. What the pointer is near is highlighted, here and
 * in the ranking, which says the same in a table.
 */

import { useEffect, useLayoutEffect, useRef, useState, useSyncExternalStore, type PointerEvent } from "react";

import * as format from "../language/format";
import { useText } from "../language/language";
import { useTheme } from "../shell/theme";
import { covered, dragged, labels, MISSING, nearest, placeOf, type Axis, type CategoryAxis, type Filter, type Filters, type NumberAxis } from "./axes";

const listeners = new Set<() => void>();
let current: string | null = null;

/** The task that is pointed at: of thousands of rows and lines only two are drawn again when it changes. */
export const highlight = {
  of: (): string | null => current,
  set(id: string | null): void {
    if (id === current) return;
    current = id;
    for (const told of listeners) told();
  },
  subscribe: (listener: () => void): (() => void) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  },
};

export function useIsHighlighted(id: string): boolean {
  return useSyncExternalStore(highlight.subscribe, () => current === id);
}

const HEIGHT = 380;
const ABOVE = 44;
const BELOW = 16;
const BESIDE = 64;
const GAP = 84; // between two axes, at least
const NEAR = 14; // pixels within which an axis or a line is meant
const SHADES = 24;
const SCALE = ["--scale-low", "--scale-middle", "--scale-high"] as const;

interface Layout {
  width: number;
  bottom: number;
  x: readonly number[];
}

function layoutOf(axes: readonly Axis[], frame: number): Layout {
  const width = Math.max(frame, (axes.length - 1) * GAP + 2 * BESIDE);
  const gap = axes.length < 2 ? 0 : (width - 2 * BESIDE) / (axes.length - 1);
  const hasMissing = axes.some((axis) => axis.kind === "number" && axis.hasMissing);
  const room = HEIGHT - ABOVE - BELOW;
  return { width, bottom: ABOVE + (hasMissing ? room / (1 - MISSING) : room), x: axes.map((_, at) => (axes.length < 2 ? width / 2 : BESIDE + at * gap)) };
}

const yOf = ({ bottom }: Layout, place: number): number => bottom - place * (bottom - ABOVE);
const placeAt = ({ bottom }: Layout, y: number): number => (bottom - y) / (bottom - ABOVE);

/** Colours of the theme, as the canvas takes them. */
function colours(): { text: string; muted: string; line: string; surface: string; accent: string; shades: string[] } {
  const style = getComputedStyle(document.documentElement);
  const read = (name: string): string => style.getPropertyValue(name).trim();
  const stops = SCALE.map((name) => [1, 3, 5].map((at) => parseInt(read(name).slice(at, at + 2), 16)));
  const shades = Array.from({ length: SHADES }, (_, at) => {
    const place = (at / (SHADES - 1)) * (stops.length - 1);
    const from = Math.min(Math.floor(place), stops.length - 2);
    const mixed = [0, 1, 2].map((part) => Math.round((stops[from]?.[part] ?? 0) * (1 - place + from) + (stops[from + 1]?.[part] ?? 0) * (place - from)));
    return `rgb(${mixed.join(" ")})`;
  });
  return { text: read("--text"), muted: read("--muted"), line: read("--line"), surface: read("--surface"), accent: read("--accent"), shades };
}

function trace(path: Path2D, axes: readonly Axis[], layout: Layout, line: number): void {
  axes.forEach((axis, at) => {
    const x = layout.x[at] ?? 0;
    const y = yOf(layout, placeOf(axis, axis.values[line] ?? null));
    if (at === 0) path.moveTo(x, y);
    else path.lineTo(x, y);
  });
}

/** A canvas of this size, sharp on every screen, and empty. */
function prepared(canvas: HTMLCanvasElement, width: number): CanvasRenderingContext2D | null {
  canvas.width = width * devicePixelRatio;
  canvas.height = HEIGHT * devicePixelRatio;
  canvas.style.width = `${width}px`;
  canvas.style.height = `${HEIGHT}px`;
  const context = canvas.getContext("2d");
  context?.scale(devicePixelRatio, devicePixelRatio);
  return context;
}

interface Picture {
  axes: readonly Axis[];
  /** How good each line is, from 0 to 1; null if that is not known. */
  shades: readonly (number | null)[];
  passes: readonly boolean[];
}

/** All lines, in one path for each shade, the best on top; those that are filtered out are behind them and grey. */
function drawLines(context: CanvasRenderingContext2D, layout: Layout, { axes, shades, passes }: Picture): void {
  const { line: grey, muted, text, surface, shades: palette } = colours();
  const paths = new Map<number, Path2D>();
  passes.forEach((isIn, line) => {
    const shade = shades[line];
    const group = !isIn ? -2 : shade === null || shade === undefined ? -1 : Math.round(shade * (SHADES - 1));
    const path = paths.get(group) ?? new Path2D();
    paths.set(group, path);
    trace(path, axes, layout, line);
  });
  const count = passes.filter(Boolean).length;
  context.lineWidth = count > 200 ? 1 : 1.5;
  context.lineJoin = "round";
  for (const group of [...paths.keys()].sort((a, b) => a - b)) {
    context.strokeStyle = group === -2 ? grey : group === -1 ? muted : (palette[group] ?? text);
    context.globalAlpha = count > 800 ? 0.4 : count > 100 ? 0.6 : 0.9;
    context.stroke(paths.get(group) ?? new Path2D());
  }
  context.globalAlpha = 1;
  drawAxes(context, axes, layout, text, muted, surface);
}

function drawAxes(context: CanvasRenderingContext2D, axes: readonly Axis[], layout: Layout, text: string, muted: string, surface: string): void {
  const family = getComputedStyle(document.body).fontFamily;
  const gap = axes.length < 2 ? layout.width : (layout.x[1] ?? 0) - (layout.x[0] ?? 0);
  const write = (words: string, x: number, y: number, colour: string, most: number): void => {
    let shown = words;
    while (shown.length > 3 && context.measureText(shown).width > most) shown = `${shown.slice(0, -2)}…`;
    context.strokeStyle = surface;
    context.lineWidth = 3;
    context.strokeText(shown, x, y);
    context.fillStyle = colour;
    context.fillText(shown, x, y);
  };
  context.textBaseline = "middle";
  axes.forEach((axis, at) => {
    const x = layout.x[at] ?? 0;
    context.strokeStyle = muted;
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(x, ABOVE);
    context.lineTo(x, layout.bottom);
    context.stroke();
    context.font = `600 12px ${family}`;
    context.textAlign = "center";
    write(axis.label, x, 14, text, gap - 8);
    context.font = `11px ${family}`;
    const isLast = at === axes.length - 1;
    context.textAlign = isLast ? "right" : "left";
    for (const { place, text: label } of labels(axis)) write(label, isLast ? x - 6 : x + 6, yOf(layout, place), muted, gap - 16);
    if (axis.kind === "number" && axis.isLog) {
      context.textAlign = "center";
      write("log", x, 30, muted, gap);
    }
  });
}

/** The parts of axes that filters cover, what is being dragged, and the highlighted line. */
function drawOver(context: CanvasRenderingContext2D, layout: Layout, { axes }: Picture, filters: Filters, drag: Drag | null, line: number): void {
  const { accent, text, surface } = colours();
  const bar = (at: number, low: number, high: number): void => {
    const [top, bottom] = [yOf(layout, high) - 3, yOf(layout, low) + 3];
    context.globalAlpha = 0.25;
    context.fillStyle = accent;
    context.fillRect((layout.x[at] ?? 0) - 8, top, 16, bottom - top);
    context.globalAlpha = 1;
    context.strokeStyle = accent;
    context.lineWidth = 1;
    context.strokeRect((layout.x[at] ?? 0) - 8, top, 16, bottom - top);
  };
  axes.forEach((axis, at) => {
    const filter = filters[axis.key];
    if (filter?.kind === "some") for (const index of filter.indexes) bar(at, placeOf(axis, index), placeOf(axis, index));
    if (filter?.kind === "range" && axis.kind === "number") {
      const part = covered(axis, filter);
      if (part !== null) bar(at, ...part);
      if (filter.withMissing) bar(at, MISSING, MISSING);
    }
  });
  if (drag !== null) bar(drag.axis, Math.min(drag.from, drag.to), Math.max(drag.from, drag.to));
  if (line < 0) return;
  const path = new Path2D();
  trace(path, axes, layout, line);
  for (const [width, colour] of [[5, surface], [2.5, text]] as const) {
    context.lineWidth = width;
    context.strokeStyle = colour;
    context.stroke(path);
  }
}

interface Drag {
  axis: number;
  from: number;
  to: number;
}

export interface ParallelProps extends Picture {
  /** The id and the name of each line. */
  lines: readonly { id: string; name: string }[];
  filters: Filters;
  onFilters: (filters: Filters) => void;
  onPick: (id: string) => void;
}

export function ParallelCoordinates({ lines, axes, shades, passes, filters, onFilters, onPick }: ParallelProps) {
  const t = useText();
  const { resolved } = useTheme();
  const frame = useRef<HTMLDivElement>(null);
  const base = useRef<HTMLCanvasElement>(null);
  const over = useRef<HTMLCanvasElement>(null);
  const [room, setRoom] = useState(0);
  const [drag, setDrag] = useState<Drag | null>(null);
  const pointed = useSyncExternalStore(highlight.subscribe, highlight.of);
  const layout = layoutOf(axes, room);
  const line = pointed === null ? -1 : lines.findIndex(({ id }) => id === pointed);

  useEffect(() => {
    const element = frame.current;
    if (element === null) return;
    const resized = new ResizeObserver(() => setRoom(element.clientWidth));
    resized.observe(element);
    return () => resized.disconnect();
  }, []);
  useLayoutEffect(() => {
    const context = base.current === null || room === 0 ? null : prepared(base.current, layout.width);
    if (context !== null) drawLines(context, layout, { axes, shades, passes });
    // eslint-disable-next-line react-hooks/exhaustive-deps -- the layout follows from axes and room, the colours from the theme
  }, [axes, shades, passes, room, resolved]);
  useLayoutEffect(() => {
    const context = over.current === null || room === 0 ? null : prepared(over.current, layout.width);
    if (context !== null) drawOver(context, layout, { axes, shades, passes }, filters, drag, line);
    // eslint-disable-next-line react-hooks/exhaustive-deps -- as above
  }, [axes, filters, drag, line, room, resolved]);
  useEffect(() => () => highlight.set(null), []);

  const at = (event: PointerEvent): { x: number; place: number } => {
    const box = event.currentTarget.getBoundingClientRect();
    return { x: event.clientX - box.left, place: placeAt(layout, event.clientY - box.top) };
  };
  const axisAt = (x: number): number => layout.x.findIndex((place) => Math.abs(place - x) <= NEAR);
  const down = (event: PointerEvent): void => {
    const { x, place } = at(event);
    const axis = axisAt(x);
    if (axis < 0) return;
    event.currentTarget.setPointerCapture(event.pointerId);
    setDrag({ axis, from: place, to: place });
  };
  const move = (event: PointerEvent): void => {
    const { x, place } = at(event);
    if (drag !== null) {
      setDrag({ ...drag, to: place });
      return;
    }
    highlight.set(idAt(x, place));
  };
  const idAt = (x: number, place: number): string | null => {
    const right = layout.x.findIndex((other) => other >= x);
    const [before, after] = [axes[right - 1], axes[right]];
    if (before === undefined || after === undefined) return null;
    const [from, to] = [layout.x[right - 1] ?? 0, layout.x[right] ?? 1];
    const found = nearest(before, after, (x - from) / (to - from), place, passes.flatMap((isIn, index) => (isIn ? [index] : [])));
    const isNear = found !== null && found.distance * (layout.bottom - ABOVE) <= NEAR;
    return isNear ? (lines[found.line]?.id ?? null) : null;
  };
  const up = (event: PointerEvent): void => {
    if (drag === null) {
      const { x, place } = at(event);
      const id = idAt(x, place);
      if (id !== null) onPick(id);
      return;
    }
    const axis = axes[drag.axis];
    setDrag(null);
    if (axis === undefined) return;
    const isClick = Math.abs(drag.from - drag.to) * (layout.bottom - ABOVE) < 4;
    onFilters(changed(filters, axis.key, isClick ? null : dragged(axis, drag.from, drag.to)));
  };
  const passed = passes.filter(Boolean).length;
  return (
    <figure className="chart">
      <figcaption>
        <span className="chart-title">{t("parallel.title", { n: format.count(lines.length) })}</span>
        <span className="legend">
          <span className="legend-entry">
            {t("parallel.worse")} <span className="scale" aria-hidden="true" /> {t("parallel.better")}
          </span>
          <span className="legend-entry">{line < 0 ? "" : lines[line]?.name}</span>
        </span>
      </figcaption>
      <div ref={frame} className="parallel" role="region" aria-label={t("parallel.label")} tabIndex={0}>
        <div className="parallel-canvas">
          <canvas ref={base} role="img" aria-label={t("parallel.summary", { n: lines.length, axes: axes.map(({ label }) => label).join(", ") })} />
          <canvas
            ref={over}
            className="parallel-over"
            aria-hidden="true"
            onPointerDown={down}
            onPointerMove={move}
            onPointerUp={up}
            onPointerCancel={() => setDrag(null)}
            onPointerLeave={() => highlight.set(null)}
          />
        </div>
      </div>
      <p className="chart-note">{t("parallel.how")}</p>
      <details className="parallel-filters">
        <summary>
          {t("parallel.filter")}{" "}
          <span className="count" role="status">
            {t("parallel.passed", { n: format.count(passed), all: format.count(lines.length) })}
          </span>
        </summary>
        <div className="parallel-fields">
          {axes.map((axis) =>
            axis.kind === "number" ? (
              <RangeFields key={axis.key} axis={axis} filter={filters[axis.key]} onChange={(filter) => onFilters(changed(filters, axis.key, filter))} />
            ) : (
              <CategoryFields key={axis.key} axis={axis} filter={filters[axis.key]} onChange={(filter) => onFilters(changed(filters, axis.key, filter))} />
            ),
          )}
        </div>
        {Object.keys(filters).length > 0 && (
          <button type="button" className="button" onClick={() => onFilters({})}>
            {t("parallel.clear")}
          </button>
        )}
      </details>
    </figure>
  );
}

function changed(filters: Filters, key: string, filter: Filter | null): Filters {
  const rest = Object.fromEntries(Object.entries(filters).filter(([other]) => other !== key));
  return filter === null ? rest : { ...rest, [key]: filter };
}

interface FieldsProps<T extends Axis> {
  axis: T;
  filter: Filter | undefined;
  onChange: (filter: Filter | null) => void;
}

function RangeFields({ axis, filter, onChange }: FieldsProps<NumberAxis>) {
  const t = useText();
  const range = filter?.kind === "range" ? filter : { kind: "range" as const, from: axis.min, to: axis.max, withMissing: axis.hasMissing };
  const set = (change: Partial<typeof range>): void => {
    const next = { ...range, ...change };
    const isAll = next.from <= axis.min && next.to >= axis.max && next.withMissing === axis.hasMissing;
    onChange(isAll ? null : next);
  };
  const field = (end: "from" | "to", preset: number) => (
    <label className="inline">
      {t(`parallel.${end}`)}
      <input
        key={range[end]}
        type="text"
        inputMode="decimal"
        className="short"
        defaultValue={Number(range[end].toPrecision(6))}
        onBlur={(event) => {
          const value = event.target.value.trim() === "" ? preset : Number(event.target.value);
          if (Number.isFinite(value) && value !== Number(range[end].toPrecision(6))) set({ [end]: value });
        }}
        onKeyDown={(event) => {
          if (event.key === "Enter") event.currentTarget.blur();
        }}
      />
    </label>
  );
  return (
    <fieldset>
      <legend>{axis.label}</legend>
      {field("from", axis.min)} {field("to", axis.max)}
      {axis.hasMissing && (
        <label className="inline">
          <input type="checkbox" checked={range.withMissing} onChange={(event) => set({ withMissing: event.target.checked })} /> {t("parallel.missing")}
        </label>
      )}
    </fieldset>
  );
}

function CategoryFields({ axis, filter, onChange }: FieldsProps<CategoryAxis>) {
  const chosen = filter?.kind === "some" ? filter.indexes : axis.categories.map((_, at) => at);
  const set = (index: number, isIn: boolean): void => {
    const indexes = isIn ? [...chosen, index] : chosen.filter((other) => other !== index);
    onChange(indexes.length === axis.categories.length ? null : { kind: "some", indexes });
  };
  return (
    <fieldset>
      <legend>{axis.label}</legend>
      {axis.categories.map((category, at) => (
        <label key={category} className="inline cut">
          <input type="checkbox" checked={chosen.includes(at)} onChange={(event) => set(at, event.target.checked)} /> {category}
        </label>
      ))}
    </fieldset>
  );
}
