/**
 * All tasks, a page at a time: the server filters, sorts and counts, and tells which tasks change. What is selected is a set of task ids, which stays when the list moves.
 */

import { useQueryClient } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import {
  columnVisibilityFeature,
  createColumnHelper,
  rowSelectionFeature,
  tableFeatures,
  useTable,
  type ColumnVisibilityState,
  type RowSelectionState,
} from "@tanstack/react-table";
import { DropdownMenu } from "radix-ui";
import { useEffect, useState } from "react";

import type { Sort, State, TaskLine } from "../api/queries";
import { Confirm, useUndo } from "../components/Confirm";
import { Beside, metricName, METRICS } from "../components/metrics";
import { Bar, Empty, ErrorNote, Loading, StateBadge, TaskLink } from "../components/notices";
import { TableFrame } from "../components/TableFrame";
import type { Key } from "../language/catalogue";
import * as format from "../language/format";
import { useText } from "../language/language";
import type { Changes } from "../router";
import { freedBy, isAllowed, useActions, type Action, type Freed, type Refusal } from "./actions";
import { FreedSpace } from "./FreedSpace";
import { useLiveTasks } from "./liveTasks";

const PAGE = 50;
const STATES: readonly State[] = ["running", "pending", "paused", "completed", "failed", "cancelled"];
const SHOWN = "epochd.columns";
const NO_TASKS: TaskLine[] = [];

const features = tableFeatures({ rowSelectionFeature, columnVisibilityFeature });
const helper = createColumnHelper<typeof features, TaskLine>();

/** The columns in their order; those with a `sort` can be sorted by the server. */
const COLUMNS: readonly { id: string; label: Key; sort?: string; isNumber?: boolean; cell: (line: TaskLine) => React.ReactNode }[] = [
  { id: "task", label: "tasks.task", sort: "name", cell: (line) => <TaskLink line={line} className="row-link" /> },
  { id: "state", label: "tasks.state", sort: "state", cell: (line) => <StateBadge state={line.state} /> },
  { id: "progress", label: "tasks.progress", sort: "epoch", cell: (line) => <Progress line={line} /> },
  {
    id: "score",
    label: "tasks.score",
    cell: (line) => (
      <span className="score">
        <span className="score-name">{metricName(line.main_metric)}</span>
        <Beside metric={line.main_metric} value={metricOf(line, line.main_metric)} baseline={line.baseline} />
      </span>
    ),
  },
  { id: "left", label: "tasks.left", isNumber: true, cell: (line) => format.duration(secondsLeft(line)) },
  { id: "duration", label: "tasks.duration", isNumber: true, cell: (line) => format.duration(format.between(line.started_at, line.finished_at)) },
  { id: "dataset", label: "tasks.dataset", cell: (line) => line.dataset ?? format.MISSING },
  { id: "engine", label: "tasks.engine", cell: (line) => `${line.model_type} · ${line.framework}` },
  { id: "created", label: "tasks.created", sort: "created", cell: (line) => <time dateTime={line.created_at}>{format.moment(line.created_at)}</time> },
  { id: "finished", label: "tasks.finished", sort: "finished", cell: (line) => format.moment(line.finished_at) },
];
const HIDDEN: ColumnVisibilityState = Object.fromEntries(["finished", ...METRICS].map((name) => [name, false]));

const columns = [
  ...COLUMNS.map(({ id, cell }) => helper.display({ id, cell: ({ row }) => cell(row.original) })),
  ...METRICS.map((name) => helper.display({ id: name, cell: ({ row }) => <span className="number">{format.value(metricOf(row.original, name))}</span> })),
];

function metricOf(line: TaskLine, name: string): number | null | undefined {
  return (line.best_metrics as Record<string, number | null | undefined>)[name];
}

function secondsLeft(line: TaskLine): number | null {
  const perEpoch = (line.latest_metrics as Record<string, number | undefined>).time_per_epoch;
  return line.state !== "running" || perEpoch === undefined ? null : perEpoch * (line.total_epochs - line.current_epoch);
}

function Progress({ line }: { line: TaskLine }) {
  const t = useText();
  const epochs = t("tasks.epochs", { done: format.count(line.current_epoch), all: format.count(line.total_epochs) });
  const share = line.state === "completed" ? 1 : line.current_epoch / line.total_epochs;
  return (
    <span className="progress">
      <Bar share={share} label={epochs} state={line.state} />
      <span className="number">{epochs}</span>
    </span>
  );
}

function stored(): ColumnVisibilityState {
  try {
    return { ...HIDDEN, ...(JSON.parse(localStorage.getItem(SHOWN) ?? "{}") as ColumnVisibilityState) };
  } catch {
    return HIDDEN;
  }
}

const route = getRouteApi("/tasks");

export function TasksPage() {
  const t = useText();
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const { state, name, sort = "-created", page = 1 } = search;
  const { data, error, refetch, isPlaceholderData } = useLiveTasks({ state, name, sort, limit: PAGE, offset: (page - 1) * PAGE });
  const [selection, setSelection] = useState<RowSelectionState>({});
  const [visibility, setVisibility] = useState(stored);
  const [hidden, setHidden] = useState<ReadonlySet<string>>(new Set());
  const lines = data?.tasks ?? NO_TASKS;
  const table = useTable({
    features,
    columns,
    data: hidden.size === 0 ? lines : lines.filter(({ task_id }) => !hidden.has(task_id)),
    getRowId: (line) => line.task_id,
    state: { rowSelection: selection, columnVisibility: visibility },
    onRowSelectionChange: setSelection,
    onColumnVisibilityChange: setVisibility,
  });
  useEffect(() => localStorage.setItem(SHOWN, JSON.stringify(visibility)), [visibility]);

  const total = data?.total ?? 0;
  const chosen = Object.keys(selection).filter((id) => selection[id] === true);
  const change = (next: Changes<typeof search>): void => {
    void navigate({ search: (before) => ({ ...before, page: undefined, ...next }) as never, replace: true });
  };

  if (data === undefined) return error === null ? <Loading lines={8} /> : <ErrorNote error={error} onRetry={() => void refetch()} />;
  const isFirstRun = total === 0 && state === undefined && name === undefined;
  if (isFirstRun) return <FirstRun />;
  return (
    <>
      <div className="page-head">
        <h1>{t("nav.tasks")}</h1>
        <Link to="/start" className="button button-primary">
          {t("tasks.start")}
        </Link>
      </div>
      <div className="toolbar" role="search">
        <div className="segments" role="group" aria-label={t("tasks.filter")}>
          {[undefined, ...STATES].map((one) => (
            <button key={one ?? "all"} type="button" aria-pressed={state === one} onClick={() => change({ state: one })}>
              {one === undefined ? t("tasks.all") : t(`state.${one}`)}
            </button>
          ))}
        </div>
        <Search value={name ?? ""} onChange={(wanted) => change({ name: wanted === "" ? undefined : wanted })} />
        <Columns visibility={visibility} onChange={setVisibility} />
      </div>
      <BulkActions
        ids={chosen}
        lines={lines}
        onClear={() => setSelection({})}
        onHide={(ids, isHidden) =>
          setHidden((before) => {
            const after = new Set(before);
            for (const id of ids) if (isHidden) after.add(id);
            else after.delete(id);
            return after;
          })
        }
      />
      {error !== null && <ErrorNote error={error} />}
      <TableFrame label={t("nav.tasks")} isStale={isPlaceholderData}>
        <table className="table">
          <caption className="visually-hidden">{t("nav.tasks")}</caption>
          <thead>
            <tr>
              <th className="check">
                <input
                  type="checkbox"
                  aria-label={t("tasks.select_page")}
                  checked={table.getIsAllRowsSelected()}
                  onChange={table.getToggleAllRowsSelectedHandler()}
                />
              </th>
              {table.getVisibleLeafColumns().map(({ id }) => (
                <Header key={id} id={id} sort={sort} onSort={(wanted) => change({ sort: wanted === "-created" ? undefined : wanted })} />
              ))}
            </tr>
          </thead>
          <tbody>
            {table.getRowModel().rows.map((row) => (
              <tr key={row.id} data-selected={selection[row.id] === true}>
                <td className="check">
                  <input
                    type="checkbox"
                    aria-label={t("tasks.select", { name: row.original.name })}
                    checked={row.getIsSelected()}
                    onChange={row.getToggleSelectedHandler()}
                  />
                </td>
                {row.getVisibleCells().map((cell) => (
                  <td key={cell.id} data-column={cell.column.id} className={isNumber(cell.column.id) ? "number" : undefined}>
                    <table.FlexRender cell={cell} />
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
        {lines.length === 0 && <p className="table-empty">{t("tasks.none_match")}</p>}
      </TableFrame>
      <Pages page={page} total={total} onChange={(wanted) => change({ page: wanted === 1 ? undefined : wanted })} />
    </>
  );
}

const isNumber = (id: string): boolean => COLUMNS.find((column) => column.id === id)?.isNumber ?? METRICS.some((name) => name === id);

function Header({ id, sort, onSort }: { id: string; sort: Sort; onSort: (sort: Sort) => void }) {
  const t = useText();
  const column = COLUMNS.find((one) => one.id === id);
  const label = column === undefined ? metricName(id) : t(column.label);
  const className = isNumber(id) ? "number" : undefined;
  if (column?.sort === undefined) return <th className={className}>{label}</th>;
  const key = column.sort;
  const direction = sort === key ? "ascending" : sort === `-${key}` ? "descending" : "none";
  return (
    <th className={className} aria-sort={direction}>
      <button type="button" className="sort" onClick={() => onSort((direction === "descending" ? key : `-${key}`) as Sort)}>
        {label}
        <span aria-hidden="true">{{ ascending: " ↑", descending: " ↓", none: "" }[direction]}</span>
      </button>
    </th>
  );
}

/** Asks the server once nothing has been typed for a moment. */
function Search({ value, onChange }: { value: string; onChange: (value: string) => void }) {
  const t = useText();
  const [typed, setTyped] = useState(value);
  useEffect(() => {
    if (typed === value) return;
    const timer = setTimeout(() => onChange(typed), 250);
    return () => clearTimeout(timer);
  }, [typed, value, onChange]);
  return (
    <input type="search" className="search" placeholder={t("tasks.search")} aria-label={t("tasks.search")} value={typed} onChange={(event) => setTyped(event.target.value)} />
  );
}

function Columns({ visibility, onChange }: { visibility: ColumnVisibilityState; onChange: (visibility: ColumnVisibilityState) => void }) {
  const t = useText();
  const all = [...COLUMNS.filter(({ id }) => id !== "task").map(({ id, label }) => [id, t(label)] as const), ...METRICS.map((name) => [name, metricName(name)] as const)];
  return (
    <DropdownMenu.Root modal={false}>
      <DropdownMenu.Trigger className="button">{t("tasks.columns")}</DropdownMenu.Trigger>
      <DropdownMenu.Portal>
        <DropdownMenu.Content className="menu" align="end" sideOffset={4}>
          {all.map(([id, label]) => (
            <DropdownMenu.CheckboxItem
              key={id}
              className="menu-item"
              checked={visibility[id] ?? true}
              onCheckedChange={(checked) => onChange({ ...visibility, [id]: checked })}
              onSelect={(event) => event.preventDefault()}
            >
              <span className="menu-check" aria-hidden="true">
                {(visibility[id] ?? true) ? "✓" : ""}
              </span>
              {label}
            </DropdownMenu.CheckboxItem>
          ))}
        </DropdownMenu.Content>
      </DropdownMenu.Portal>
    </DropdownMenu.Root>
  );
}

interface BulkProps {
  ids: readonly string[];
  lines: readonly TaskLine[];
  onClear: () => void;
  onHide: (ids: readonly string[], isHidden: boolean) => void;
}

function BulkActions({ ids, lines, onClear, onHide }: BulkProps) {
  const t = useText();
  const queryClient = useQueryClient();
  const actions = useActions();
  const { later, notice } = useUndo();
  const [asked, setAsked] = useState<"stop" | "remove" | null>(null);
  const [freed, setFreed] = useState<Freed | null>(null);
  const [refusals, setRefusals] = useState<Refusal[]>([]);
  const known = new Map(lines.map((line) => [line.task_id, line.state]));
  // What is selected on another page is let through: the server knows its state.
  const can = (action: Action): boolean => ids.some((id) => isAllowed(action, known.get(id) ?? (action === "resume" ? "paused" : action === "remove" ? "failed" : "running")));
  const wanted = (action: Action): string[] => ids.filter((id) => { const state = known.get(id); return state === undefined || isAllowed(action, state); });
  const run = (action: Action, chosen: readonly string[]): void => {
    actions.mutate({ action, ids: chosen }, {
      onSuccess: (refused) => {
        setRefusals(refused);
        onHide(chosen, false);
      },
    });
  };
  const ask = (action: "stop" | "remove"): void => {
    setAsked(action);
    setFreed(null);
    if (action === "remove") void freedBy(queryClient, ids).then(setFreed);
  };
  const confirm = (): void => {
    if (asked === null) return;
    const chosen = wanted(asked);
    setAsked(null);
    onClear();
    if (asked === "stop") {
      run("stop", chosen);
      return;
    }
    onHide(chosen, true);
    later(t("tasks.removed", { n: chosen.length }), () => run("remove", chosen), () => onHide(chosen, false));
  };
  return (
    <>
      {ids.length > 0 && (
        <div className="bulk" role="toolbar" aria-label={t("tasks.bulk")}>
          <span>{t("tasks.selected", { n: ids.length })}</span>
          <button type="button" className="button" disabled={!can("pause")} onClick={() => run("pause", wanted("pause"))}>
            {t("action.pause")}
          </button>
          <button type="button" className="button" disabled={!can("resume")} onClick={() => run("resume", wanted("resume"))}>
            {t("action.resume")}
          </button>
          <button type="button" className="button" disabled={!can("stop")} onClick={() => ask("stop")}>
            {t("action.stop")}
          </button>
          <button type="button" className="button button-danger" disabled={!can("remove")} onClick={() => ask("remove")}>
            {t("action.remove")}
          </button>
          <Link to="/compare" search={{ ids: [...ids] }} className="button">
            {t("nav.compare")}
          </Link>
          <button type="button" className="button button-quiet" onClick={onClear}>
            {t("tasks.clear")}
          </button>
        </div>
      )}
      {refusals.map(({ id, error }) => (
        <ErrorNote key={id} error={error} />
      ))}
      {notice}
      {asked !== null && (
        <Confirm
          title={t(asked === "stop" ? "confirm.stop" : "confirm.remove", { n: wanted(asked).length })}
          action={t(asked === "stop" ? "action.stop" : "action.remove")}
          isDanger
          onConfirm={confirm}
          onCancel={() => setAsked(null)}
        >
          {asked === "stop" ? <p>{t("confirm.stop_why")}</p> : <FreedSpace freed={freed} />}
        </Confirm>
      )}
    </>
  );
}

function Pages({ page, total, onChange }: { page: number; total: number; onChange: (page: number) => void }) {
  const t = useText();
  const last = Math.max(1, Math.ceil(total / PAGE));
  const first = (page - 1) * PAGE + 1;
  return (
    <nav className="pages" aria-label={t("pages.label")}>
      <span className="muted">{t("pages.shown", { first: format.count(Math.min(first, total)), last: format.count(Math.min(total, page * PAGE)), total: format.count(total) })}</span>
      {last > 1 && (
        <>
          <button type="button" className="button" disabled={page <= 1} onClick={() => onChange(page - 1)}>
            {t("pages.previous")}
          </button>
          <button type="button" className="button" disabled={page >= last} onClick={() => onChange(page + 1)}>
            {t("pages.next")}
          </button>
        </>
      )}
    </nav>
  );
}

/** Nothing has been trained yet: the shortest way to a first training. */
function FirstRun() {
  const t = useText();
  return (
    <Empty title={t("first.title")}>
      <p>{t("first.what")}</p>
      <p className="empty-actions">
        <Link to="/start" search={{ dataset: "breast_cancer" }} className="button button-primary">
          {t("first.example")}
        </Link>
        <Link to="/start" className="button">
          {t("first.own")}
        </Link>
      </p>
    </Empty>
  );
}

