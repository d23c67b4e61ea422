/**
 * A figure whose horizontal axis is not epochs: axes and their numbers, a legend, what is read at the pointer, and the
 * numbers themselves in a table for those who do not see it. It is SVG, so its colours are those of the theme; what
 * is drawn in it is its children's.
 */

import { useEffect, useRef, useState, type PointerEvent, type ReactNode } from "react";

import { TableFrame } from "../../components/TableFrame";
import * as format from "../../language/format";
import { useText } from "../../language/language";
import { nearest, scale, ticks, type Range, type Scale } from "./scale";

export interface Axis {
  label: string;
  range: Range;
  /** What is written beside it, if it is not numbers. */
  marks?: readonly { at: number; label: string }[];
}

export interface Area {
  x: Scale;
  y: Scale;
  width: number;
  height: number;
}

export interface LegendEntry {
  label: string;
  colour: string;
  dash?: string;
  kind?: "line" | "point" | "ring";
}

export interface Numbers {
  head: readonly string[];
  rows: readonly (readonly string[])[];
}

interface PlotProps {
  title: string;
  /** What the figure shows, in words. */
  summary: string;
  x: Axis;
  y: Axis;
  height?: number;
  legend?: readonly LegendEntry[];
  note?: string | undefined;
  numbers?: Numbers;
  /** What is said of the point that is nearest to the pointer. */
  readout?: { xs: readonly number[]; text: (at: number) => string };
  children: (area: Area) => ReactNode;
}

const LEFT = 52;
const RIGHT = 12;
const TOP = 22;
const BOTTOM = 38;
const LABEL_WIDTH = 74;
const LABEL_HEIGHT = 34;

export function Plot({ title, summary, x, y, height = 260, legend = [], note, numbers, readout, children }: PlotProps) {
  const frame = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  const [pointed, setPointed] = useState<number | null>(null);
  useEffect(() => {
    const element = frame.current;
    if (element === null) return;
    const resized = new ResizeObserver(() => setWidth(element.clientWidth));
    resized.observe(element);
    return () => resized.disconnect();
  }, []);
  const area: Area = {
    x: scale(x.range, [LEFT, width - RIGHT]),
    y: scale(y.range, [height - BOTTOM, TOP]),
    width,
    height,
  };
  const point = (event: PointerEvent<SVGSVGElement>): void => {
    if (readout === undefined) return;
    const place = event.clientX - event.currentTarget.getBoundingClientRect().left;
    setPointed(nearest(readout.xs.map(area.x), place));
  };
  const at = readout !== undefined && pointed !== null && pointed >= 0 ? pointed : null;
  return (
    <figure className="chart">
      <figcaption>
        <span className="chart-title">{title}</span>
        <span className="legend">
          {legend.map((entry) => (
            <span key={entry.label} className="legend-entry">
              <svg width="14" height="8" aria-hidden="true">
                {entry.kind === "point" && <circle cx="7" cy="4" r="3.5" fill={`var(${entry.colour})`} />}
                {entry.kind === "ring" && <circle cx="7" cy="4" r="3.25" fill="none" stroke={`var(${entry.colour})`} strokeWidth="1.5" />}
                {(entry.kind ?? "line") === "line" && (
                  <line x1="0" y1="4" x2="14" y2="4" className="swatch" stroke={`var(${entry.colour})`} strokeDasharray={entry.dash} />
                )}
              </svg>
              {entry.label}
            </span>
          ))}
        </span>
      </figcaption>
      <div ref={frame} className="chart-frame">
        {width > 0 && (
          <svg className="plot" width={width} height={height} role="img" aria-label={`${title}: ${summary}`} onPointerMove={point} onPointerLeave={() => setPointed(null)}>
            <Axes x={x} y={y} area={area} />
            {children(area)}
            {at !== null && <line className="plot-pointer" x1={area.x(readout?.xs[at] ?? 0)} x2={area.x(readout?.xs[at] ?? 0)} y1={TOP} y2={height - BOTTOM} />}
          </svg>
        )}
      </div>
      {(note !== undefined || readout !== undefined) && <p className="chart-note plot-note">{at === null ? note : readout?.text(at)}</p>}
      {numbers !== undefined && <NumbersTable title={title} numbers={numbers} />}
    </figure>
  );
}

/** Lines and numbers of both axes, as many as there is room for. */
function Axes({ x, y, area }: { x: Axis; y: Axis; area: Area }) {
  const { width, height } = area;
  const across = Math.max(2, Math.floor((width - LEFT - RIGHT) / LABEL_WIDTH));
  const marks = x.marks === undefined ? ticks(x.range, across).map((at) => ({ at, label: format.tick(at) })) : thinned(x.marks, across);
  return (
    <g className="plot-axes" aria-hidden="true">
      {ticks(y.range, Math.floor((height - TOP - BOTTOM) / LABEL_HEIGHT)).map((at) => (
        <g key={at}>
          <line x1={LEFT} x2={width - RIGHT} y1={area.y(at)} y2={area.y(at)} />
          <text x={LEFT - 6} y={area.y(at)} dy="0.32em" textAnchor="end">
            {format.tick(at)}
          </text>
        </g>
      ))}
      {marks.map(({ at, label }) => (
        <g key={at}>
          <line x1={area.x(at)} x2={area.x(at)} y1={TOP} y2={height - BOTTOM} />
          <text x={area.x(at)} y={height - BOTTOM + 15} textAnchor={area.x(at) > width - RIGHT - LABEL_WIDTH / 3 ? "end" : "middle"}>
            {label}
          </text>
        </g>
      ))}
      <text className="plot-label" x={4} y={12}>
        {y.label}
      </text>
      <text className="plot-label" x={width - RIGHT} y={height - 4} textAnchor="end">
        {x.label}
      </text>
    </g>
  );
}

/** At most so many of them, at equal distances. */
function thinned<T>(all: readonly T[], most: number): T[] {
  const step = Math.ceil(all.length / most);
  return all.filter((_, at) => at % step === 0);
}

const SHOWN_ROWS = 200;

/** A table that is made when it is opened. */
export function NumbersTable({ title, numbers }: { title: string; numbers: Numbers }) {
  const t = useText();
  const [isOpen, setIsOpen] = useState(false);
  return (
    <details className="numbers" onToggle={(event) => setIsOpen(event.currentTarget.open)}>
      <summary>{t("results.numbers")}</summary>
      {isOpen && (
        <TableFrame label={title} isShort>
          <table className="table">
            <caption className="visually-hidden">{title}</caption>
            <thead>
              <tr>
                {numbers.head.map((name, at) => (
                  <th key={at} scope="col" className="number">
                    {name}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {numbers.rows.slice(0, SHOWN_ROWS).map((row, place) => (
                <tr key={place}>
                  {row.map((cell, at) => (
                    <td key={at} className="number">
                      {cell}
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </TableFrame>
      )}
    </details>
  );
}
