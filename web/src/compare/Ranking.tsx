/** The compared trainings in tables: the best score first, and the options in which they differ. */

import { memo, useState } from "react";

import type { Config, TaskLine } from "../api/queries";
import { Beside, isBetter, metricName } from "../components/metrics";
import { StateBadge, TaskLink } from "../components/notices";
import { TableFrame } from "../components/TableFrame";
import * as format from "../language/format";
import { useText } from "../language/language";
import { differing } from "../task/config";
import { lookOf } from "./colours";
import { highlight, useIsHighlighted } from "./ParallelCoordinates";

const SHOWN_ROWS = 100;
const NO_OPTIONS: readonly string[] = [];

/** The score of the best epoch. */
export function scoreOf(line: TaskLine, metric: string): number | null {
  return (line.best_metrics as Record<string, number | null | undefined>)[metric] ?? null;
}

export function ranked<T extends TaskLine>(lines: readonly T[], metric: string): T[] {
  const scored = lines.map((line) => ({ line, value: scoreOf(line, metric) }));
  scored.sort((a, b) => {
    if (a.value === null || b.value === null) return Number(a.value === null) - Number(b.value === null);
    return a.value === b.value ? 0 : isBetter(metric, a.value, b.value) ? -1 : 1;
  });
  return scored.map(({ line }) => line);
}

interface RankingProps {
  lines: readonly TaskLine[];
  metric: string;
  /** The place of each task whose curve is drawn. */
  places: ReadonlyMap<string, number>;
  /** Options that have a column. */
  options?: readonly string[];
  onDraw: (id: string, isDrawn: boolean) => void;
}

export function Ranking({ lines, metric, places, options = NO_OPTIONS, onDraw }: RankingProps) {
  const t = useText();
  const [isWhole, setIsWhole] = useState(false);
  const rows = ranked(lines, metric);
  const title = t("compare.ranking", { metric: metricName(metric) });
  return (
    <TableFrame label={title} isShort={lines.length > 20}>
      <table className="table">
        <caption>{title}</caption>
        <thead>
          <tr>
            <th className="number">#</th>
            <th>{t("tasks.task")}</th>
            <th>{t("tasks.state")}</th>
            <th>{metricName(metric)}</th>
            <th className="number">{t("tasks.duration")}</th>
            {options.map((name) => (
              <th key={name}>
                <code>{name}</code>
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.slice(0, isWhole ? undefined : SHOWN_ROWS).map((line, at) => (
            <Row key={line.task_id} line={line} rank={at + 1} metric={metric} place={places.get(line.task_id) ?? null} options={options} onDraw={onDraw} />
          ))}
        </tbody>
      </table>
      {rows.length > SHOWN_ROWS && !isWhole && (
        <p className="table-more">
          <button type="button" className="button button-quiet" onClick={() => setIsWhole(true)}>
            {t("compare.show_rest", { n: format.count(rows.length - SHOWN_ROWS) })}
          </button>
        </p>
      )}
    </TableFrame>
  );
}

interface RowProps {
  line: TaskLine;
  rank: number;
  metric: string;
  place: number | null;
  options: readonly string[];
  onDraw: (id: string, isDrawn: boolean) => void;
}

const Row = memo(function Row({ line, rank, metric, place, options, onDraw }: RowProps) {
  const t = useText();
  const isHighlighted = useIsHighlighted(line.task_id);
  const config = (line.config ?? {}) as Config;
  const point = (): void => highlight.set(line.task_id);
  const leave = (): void => highlight.set(null);
  return (
    <tr data-selected={isHighlighted} onPointerEnter={point} onPointerLeave={leave} onFocus={point} onBlur={leave}>
      <td className="number">{rank}</td>
      <td className="ranked">
        <label className="inline" title={t("compare.draw")}>
          <input type="checkbox" checked={place !== null} onChange={(event) => onDraw(line.task_id, event.target.checked)} aria-label={t("compare.draw_of", { name: line.name })} />
        </label>{" "}
        <span className="dot" data-colour={place === null ? undefined : lookOf(place).colour} aria-hidden="true" />{" "}
        <TaskLink line={line} />
      </td>
      <td>
        <StateBadge state={line.state} />
      </td>
      <td>
        <Beside metric={metric} value={scoreOf(line, metric)} baseline={metric === line.main_metric ? line.baseline : null} />
      </td>
      <td className="number">{format.duration(format.between(line.started_at, line.finished_at))}</td>
      {options.map((name) => (
        <td key={name} className="cut">
          {format.shown(config[name] ?? undefined)}
        </td>
      ))}
    </tr>
  );
});

export function Differences({ lines, places }: { lines: readonly TaskLine[]; places: ReadonlyMap<string, number> }) {
  const t = useText();
  const names = differing(lines.map(({ config }) => (config ?? {}) as Config));
  if (lines.length < 2) return null;
  if (names.length === 0) return <p className="hint">{t("compare.same")}</p>;
  return (
    <TableFrame label={t("compare.differences")}>
      <table className="table">
        <caption>{t("compare.differences")}</caption>
        <thead>
          <tr>
            <th>{t("config.option")}</th>
            {lines.map(({ task_id }) => (
              <th key={task_id}>
                <span className="dot" data-colour={lookOf(places.get(task_id) ?? 1).colour} aria-hidden="true" /> <code>{task_id.slice(-6)}</code>
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
              {lines.map(({ task_id, config }) => (
                <td key={task_id} className="cut">
                  {format.shown(((config ?? {}) as Config)[name] ?? undefined)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </TableFrame>
  );
}
