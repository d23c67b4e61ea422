/**
 * Trainings beside each other: the curves of some, and of some or of all that match a filter the options, the scores and how
 * they go together. What is compared is part of the address.
 */

import { useQueries, useQuery } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { useCallback, useMemo, useState } from "react";

import { configuredTasks, MOST_CONFIGURED, task, type Config, type State, type TaskDetail, type TaskLine } from "../api/queries";
import { Chart } from "../components/Chart";
import { isBetter, metricName, METRICS } from "../components/metrics";
import { Empty, ErrorNote, Loading } from "../components/notices";
import * as format from "../language/format";
import { useText } from "../language/language";
import { STATES, type Changes } from "../router";
import { differing } from "../task/config";
import { useCurves } from "../task/training";
import { useLiveTasks } from "../tasks/liveTasks";
import { axisOf, passing, shadesOf, variety, type Axis, type Filters } from "./axes";
import { added, address, chosenOf, removed, type Chosen } from "./colours";
import { AXES, overlaid, stepsPerEpoch, type By } from "./overlay";
import { ParallelCoordinates } from "./ParallelCoordinates";
import { Differences, Ranking, ranked, scoreOf } from "./Ranking";

const route = getRouteApi("/compare");
const DRAWN = 10;
const OFFERED = 30;
const MOST_OPTIONS = 7;
const MOST_SCORES = 2;
const NOT_OPTIONS = ["name", "output_path", "task", "allow_changed_data"];
const NO_IDS: string[] = [];
const NO_LINES: readonly TaskLine[] = [];

/** What the address says is compared, and how it is changed. */
function useChosen() {
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const { ids = NO_IDS, places } = search;
  const chosen = useMemo(() => chosenOf(ids, places), [ids, places]);
  const change = useCallback(
    (next: Changes<typeof search>): void => void navigate({ search: (before) => ({ ...before, ...next }) as never, replace: true }),
    [navigate],
  );
  const choose = useCallback((next: Chosen): void => change(address(next)), [change]);
  return { search, chosen, change, choose };
}

export function ComparePage() {
  const t = useText();
  const { search, chosen } = useChosen();
  return (
    <>
      <div className="page-head">
        <h1>{t("nav.compare")}</h1>
      </div>
      <div className="compare">
        <Picker />
        {chosen.ids.length === 0 && search.all !== true ? (
          <Empty title={t("compare.none")}>
            <p>{t("compare.none_what")}</p>
          </Empty>
        ) : (
          <Compared />
        )}
      </div>
    </>
  );
}

/** The newest tasks that match, to choose curves from; or all that match, for the table and the parallel coordinates. */
function Picker() {
  const t = useText();
  const { search, chosen, change, choose } = useChosen();
  const { name, state } = search;
  const { data, error } = useLiveTasks({ name, state, sort: "-created", limit: OFFERED, offset: 0 });
  return (
    <aside className="picker" aria-label={t("compare.choose")}>
      <input type="search" className="search" placeholder={t("tasks.search")} aria-label={t("tasks.search")} value={name ?? ""} onChange={(event) => change({ name: event.target.value === "" ? undefined : event.target.value })} />
      <label className="inline">
        {t("tasks.filter")}{" "}
        <select value={state ?? ""} onChange={(event) => change({ state: event.target.value === "" ? undefined : (event.target.value as State) })}>
          <option value="">{t("tasks.all")}</option>
          {STATES.map((one) => (
            <option key={one} value={one}>
              {t(`state.${one}`)}
            </option>
          ))}
        </select>
      </label>
      <ErrorNote error={error} />
      {data === undefined ? (
        error === null && <Loading />
      ) : (
        <>
          <label className="inline picker-all">
            <input type="checkbox" checked={search.all === true} onChange={(event) => change({ all: event.target.checked ? true : undefined })} /> {t("compare.all", { n: format.count(data.total) })}
          </label>
          <h2 className="small-head">{t("compare.curves")}</h2>
          {data.tasks.length === 0 && <p className="hint">{t("tasks.none_match")}</p>}
          <ul>
            {data.tasks.map((line) => (
              <li key={line.task_id}>
                <label className="inline">
                  <input
                    type="checkbox"
                    checked={chosen.ids.includes(line.task_id)}
                    onChange={(event) => choose(event.target.checked ? added(chosen, [line.task_id]) : removed(chosen, line.task_id))}
                  />{" "}
                  {line.name}
                  <span className="hint">
                    {line.model_type} · {line.dataset} · {line.task_id.slice(-6)}
                  </span>
                </label>
              </li>
            ))}
          </ul>
          {data.total > data.tasks.length && <p className="hint">{t("compare.more", { n: format.count(data.total - data.tasks.length) })}</p>}
        </>
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

function Compared() {
  const t = useText();
  const { search, chosen, change, choose } = useChosen();
  const { by = "epoch", log: isLog = false, zoom, all: isEvery = false, name, state } = search;
  const [isAllDrawn, setIsAllDrawn] = useState(false);
  const { found: details, failures } = useQueries({ queries: chosen.ids.map((id) => task(id)), combine: answers<TaskDetail> });
  const everything = useQuery({ ...configuredTasks({ name, state }), enabled: isEvery });
  const drawn = useMemo(() => (isAllDrawn ? chosen.ids : chosen.ids.slice(0, DRAWN)), [chosen, isAllDrawn]);
  const curves = useCurves(drawn);
  const every = isEvery ? (everything.data?.tasks ?? NO_LINES) : NO_LINES;
  const lines = useMemo(() => {
    const known = new Set(every.map(({ task_id }) => task_id));
    return [...every, ...details.filter(({ task_id }) => !known.has(task_id))];
  }, [every, details]);
  const places = useMemo(() => new Map(chosen.ids.map((id, at) => [id, chosen.places[at] ?? 1])), [chosen]);
  const names = METRICS.filter((one) => lines.some((line) => scoreOf(line, one) !== null));
  const metric = search.metric ?? lines.find(({ main_metric }) => names.some((one) => one === main_metric))?.main_metric ?? names[0] ?? "loss";
  const { x, series } = useMemo(
    () =>
      overlaid(
        drawn.map((id) => {
          const detail = details.find(({ task_id }) => task_id === id);
          return {
            label: detail === undefined ? id.slice(-6) : `${detail.name} ${id.slice(-6)}`,
            place: places.get(id) ?? 1,
            rows: curves.get(id)?.rows ?? [],
            stepsPerEpoch: detail === undefined ? null : stepsPerEpoch(detail.summary, detail.config),
          };
        }),
        metric,
        by,
      ),
    [drawn, details, curves, places, metric, by],
  );
  const draw = useCallback((id: string, isDrawn: boolean): void => choose(isDrawn ? added(chosen, [id]) : removed(chosen, id)), [chosen, choose]);
  return (
    <div className="compared">
      {[...failures, ...(everything.error === null ? [] : [everything.error])].map((error) => (
        <ErrorNote key={error.message} error={error} />
      ))}
      <div className="toolbar">
        <label className="inline">
          {t("results.metric")}{" "}
          <select value={metric} onChange={(event) => change({ metric: event.target.value, zoom: undefined })}>
            {names.map((one) => (
              <option key={one} value={one}>
                {metricName(one)}
              </option>
            ))}
          </select>
        </label>
        {chosen.ids.length > 0 && (
          <>
            <label className="inline">
              {t("compare.by")}{" "}
              <select value={by} onChange={(event) => change({ by: event.target.value === "epoch" ? undefined : (event.target.value as By), zoom: undefined })}>
                {AXES.map((axis) => (
                  <option key={axis} value={axis}>
                    {t(`compare.${axis}`)}
                  </option>
                ))}
              </select>
            </label>
            <label className="inline">
              <input type="checkbox" checked={isLog} onChange={(event) => change({ log: event.target.checked ? true : undefined })} /> {t("chart.log")}
            </label>
          </>
        )}
        {chosen.ids.length > DRAWN && (
          <label className="inline">
            <input type="checkbox" checked={isAllDrawn} onChange={(event) => setIsAllDrawn(event.target.checked)} /> {t("compare.draw_all", { n: chosen.ids.length })}
          </label>
        )}
      </div>
      {x.length > 0 && (
        <Chart
          title={`${metricName(metric)} · ${t(`compare.${by}`)}`}
          x={x}
          series={series}
          isLog={isLog}
          zoom={zoom ?? null}
          onZoom={(wanted) => change({ zoom: wanted ?? undefined })}
          height={320}
          place={(at) => t(`compare.at_${by}`, { n: format.tick(at) })}
          {...(chosen.ids.length > drawn.length ? { note: t("compare.not_drawn", { n: chosen.ids.length - drawn.length }) } : {})}
        />
      )}
      {isEvery && everything.data === undefined && everything.error === null ? (
        <Loading lines={8} />
      ) : (
        <SideBySide lines={lines} metric={metric} names={names} places={places} isCut={isEvery && (everything.data?.total ?? 0) > MOST_CONFIGURED} onDraw={draw} onDrawAll={(ids) => choose(added({ ids: [], places: [] }, ids))} />
      )}
      {chosen.ids.length <= DRAWN && <Differences lines={details} places={places} />}
    </div>
  );
}

interface SideProps {
  lines: readonly TaskLine[];
  metric: string;
  names: readonly string[];
  places: ReadonlyMap<string, number>;
  /** Whether more tasks match than are compared. */
  isCut: boolean;
  onDraw: (id: string, isDrawn: boolean) => void;
  onDrawAll: (ids: string[]) => void;
}

/** Parallel coordinates, and the ranking of the tasks that pass their filters. */
function SideBySide({ lines, metric, names, places, isCut, onDraw, onDrawAll }: SideProps) {
  const t = useText();
  const [filters, setFilters] = useState<Filters>({});
  const [isShown, setIsShown] = useState<Readonly<Record<string, boolean>>>({});
  const configs = useMemo(() => lines.map(({ config }) => (config ?? {}) as Config), [lines]);
  const options = useMemo(() => differing(configs).filter((name) => !NOT_OPTIONS.includes(name)), [configs]);
  const offered = useMemo(() => {
    const scores = [metric, ...names.filter((name) => name !== metric)];
    const varieties = new Map(options.map((name) => [name, variety(configs.map((config) => config[name]))]));
    const telling = new Set([...options].sort((a, b) => (varieties.get(b) ?? 0) - (varieties.get(a) ?? 0)).slice(0, MOST_OPTIONS));
    return [
      ...options.map((key) => ({ key, isPreset: telling.has(key) })),
      ...scores.map((name, at) => ({ key: `metric:${name}`, isPreset: at < MOST_SCORES })).reverse(),
    ];
  }, [options, configs, names, metric]);
  const axes = useMemo(
    () => offered.filter(({ key, isPreset }) => isShown[key] ?? isPreset).map(({ key }) => axis(key, lines, configs)),
    [offered, isShown, lines, configs],
  );
  const passes = useMemo(() => passing(axes, filters, lines.length), [axes, filters, lines]);
  const shades = useMemo(() => shadesOf(lines.map((line) => scoreOf(line, metric)), isBetter(metric, 1, 0)), [lines, metric]);
  const labels = useMemo(() => lines.map((line) => ({ id: line.task_id, name: `${line.name} ${line.task_id.slice(-6)} · ${metricName(metric)} ${format.value(scoreOf(line, metric))}` })), [lines, metric]);
  const passed = useMemo(() => lines.filter((_, at) => passes[at]), [lines, passes]);
  return (
    <>
      {lines.length > 1 && axes.length > 1 && (
        <>
          <ParallelCoordinates lines={labels} axes={axes} shades={shades} passes={passes} filters={filters} onFilters={setFilters} onPick={(id) => onDraw(id, !places.has(id))} />
          <details className="parallel-filters">
            <summary>{t("parallel.axes")}</summary>
            <div className="parallel-fields">
              {offered.map(({ key, isPreset }) => (
                <label key={key} className="inline">
                  <input type="checkbox" checked={isShown[key] ?? isPreset} onChange={(event) => setIsShown({ ...isShown, [key]: event.target.checked })} /> {nameOf(key)}
                </label>
              ))}
            </div>
          </details>
        </>
      )}
      {isCut && <p className="hint">{t("compare.cut", { n: format.count(MOST_CONFIGURED) })}</p>}
      {lines.length > DRAWN && (
        <p className="toolbar">
          <button type="button" className="button" disabled={passed.length === 0} onClick={() => onDrawAll(ranked(passed, metric).slice(0, DRAWN).map(({ task_id }) => task_id))}>
            {t("compare.draw_best", { n: Math.min(DRAWN, passed.length) })}
          </button>
        </p>
      )}
      <Ranking lines={passed} metric={metric} places={places} {...(lines.length > DRAWN ? { options } : {})} onDraw={onDraw} />
    </>
  );
}

function nameOf(key: string): string {
  return key.startsWith("metric:") ? metricName(key.slice(7)) : key;
}

function axis(key: string, lines: readonly TaskLine[], configs: readonly Config[]): Axis {
  const values = key.startsWith("metric:") ? lines.map((line) => scoreOf(line, key.slice(7))) : configs.map((config) => config[key]);
  return axisOf(key, nameOf(key), values);
}
