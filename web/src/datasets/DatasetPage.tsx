/** A dataset: how each column is read, what is in it, and its first rows. */

import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import { Fragment, useState } from "react";

import { api, ApiError, data as answer, type Problem, type Schemas } from "../api/client";
import { dataset as datasetQuery } from "../api/queries";
import { Confirm } from "../components/Confirm";
import { Bar, ErrorNote, Loading, Notes, Warnings } from "../components/notices";
import { TableFrame } from "../components/TableFrame";
import * as format from "../language/format";
import { useText } from "../language/language";
import { isEqual } from "../task/config";
import { barLabels, barsOf, columnsOf, valuesOf, type Column, type Columns } from "./columns";
import { CountCells, ReadingCell, ReadingFields } from "./Reading";
import { UsedBy } from "./UsedBy";

const route = getRouteApi("/datasets/$name");
const SHOWN_COLUMNS = 200;
const ENCODINGS = ["utf-8", "utf-16", "gb18030", "gbk", "big5", "shift_jis", "cp1252", "latin-1", "euc-kr", "cp1251", "cp1250"] as const satisfies readonly Options["encoding"][];

export function DatasetPage() {
  const t = useText();
  const { name } = route.useParams();
  const { data, error, refetch } = useQuery(datasetQuery(name));
  if (data === undefined) return error === null ? <Loading lines={8} /> : <ErrorNote error={error} onRetry={() => void refetch()} />;
  return (
    <>
      <nav aria-label={t("task.path")} className="crumbs">
        <Link to="/datasets">{t("nav.datasets")}</Link>
      </nav>
      <div className="page-head">
        <div>
          <h1>{data.name}</h1>
          <p className="task-line muted">
            {t("dataset.size", { rows: format.count(data.rows), columns: format.count(data.columns) })} · {format.bytes(data.bytes)} · {t(`dataset.${data.kind}`)}
          </p>
        </div>
        <div className="controls-row">
          <Link to="/start" search={{ dataset: data.name }} className="button button-primary">
            {t("datasets.train")}
          </Link>
          {data.kind !== "builtin" && <Remove name={data.name} />}
        </div>
      </div>
      {data.state !== "ready" && (
        <div className="note" role="status">
          {t(`dataset.${data.state}`)} {data.total_bytes !== null && data.received_bytes !== null && <Bar share={data.received_bytes / data.total_bytes} label={t("drop.sending")} />}
        </div>
      )}
      <Warnings warnings={data.warnings ?? []} />
      <Reading key={data.updated_at} dataset={data} />
      <FirstRows dataset={data} />
      <UsedBy dataset={data.name} />
    </>
  );
}

type Options = Schemas["DatasetOptions"];
type Draft = { [K in keyof Options]?: Options[K] | null };

/** What was detected, and the profile of each column; how the file and its columns are read is changed here. */
function Reading({ dataset }: { dataset: Schemas["DatasetDetail"] }) {
  const t = useText();
  const queryClient = useQueryClient();
  const [draft, setDraft] = useState<Draft>({});
  const stored: Draft = dataset.options ?? {};
  const given = { ...stored, ...draft };
  const isText = dataset.kind === "upload" || dataset.kind === "path";
  const save = useMutation({
    mutationFn: () => answer(api.PATCH("/api/v1/datasets/{name}", { params: { path: { name: dataset.name } }, body: draft as never })),
    onSuccess: async () => {
      setDraft({});
      await Promise.all([queryClient.invalidateQueries({ queryKey: ["dataset", dataset.name] }), queryClient.invalidateQueries({ queryKey: ["datasets"] })]);
    },
  });
  const set = (option: keyof Draft, value: unknown): void => {
    const rest = Object.fromEntries(Object.entries(draft).filter(([other]) => other !== option)) as Draft;
    setDraft(isEqual(value ?? null, stored[option] ?? null) ? rest : { ...rest, [option]: value ?? null });
  };
  const changes = Object.keys(draft).length;
  const problems = save.error instanceof ApiError ? save.error.problems : [];
  return (
    <section className="step" aria-labelledby="reading">
      <h2 id="reading">{t("reading.title")}</h2>
      <Notes notes={dataset.notes} />
      {isText && (
        <div className="toolbar">
          <label className="inline">
            {t("reading.encoding")}{" "}
            <select value={given.encoding ?? ""} onChange={(event) => set("encoding", event.target.value === "" ? null : event.target.value)}>
              <option value="">{t("field.automatic")}</option>
              {ENCODINGS.map((encoding) => (
                <option key={encoding}>{encoding}</option>
              ))}
            </select>
          </label>
          <label className="inline">
            {t("reading.sheet")}{" "}
            <input type="text" value={given.sheet ?? ""} placeholder={t("field.automatic")} onChange={(event) => set("sheet", sheetOf(event.target.value))} />
          </label>
        </div>
      )}
      {changes > 0 && (
        <div className="bulk" role="status">
          <span>{t("reading.changed")}</span>
          <button type="button" className="button button-primary" disabled={save.isPending} onClick={() => save.mutate()}>
            {t("reading.apply")}
          </button>
          <button type="button" className="button" onClick={() => setDraft({})}>
            {t("reading.discard")}
          </button>
        </div>
      )}
      <ErrorNote error={save.error} />
      <Profile columns={columnsOf(dataset)} options={(given.columns ?? {}) as Columns} problems={problems} {...(dataset.kind === "builtin" ? {} : { onChange: (columns) => set("columns", columns) })} />
    </section>
  );
}

/** A sheet is named, or numbered from 1. */
function sheetOf(typed: string): string | number | null {
  const text = typed.trim();
  return text === "" ? null : /^\d+$/.test(text) ? Number(text) : text;
}

interface ProfileProps {
  columns: readonly Column[];
  options: Columns;
  problems: readonly Problem[];
  /** Without it, nothing can be changed. */
  onChange?: (columns: Columns | undefined) => void;
}

function Profile({ columns, options, problems, onChange }: ProfileProps) {
  const t = useText();
  const [open, setOpen] = useState<string | null>(null);
  if (columns.length === 0) return null;
  return (
    <TableFrame label={t("dataset.profile")}>
      <table className="table">
        <caption>{t("dataset.profile")}</caption>
        <thead>
          <tr>
            <th>{t("columns.column")}</th>
            <th>{t("columns.type")}</th>
            <th className="number">{t("columns.missing")}</th>
            <th className="number">{t("columns.distinct")}</th>
            <th className="number">{t("columns.mean")}</th>
            <th>{t("columns.distribution")}</th>
            <th>{t("columns.values")}</th>
          </tr>
        </thead>
        <tbody>
          {columns.slice(0, SHOWN_COLUMNS).map((column) => {
            const reading = { name: column.name, decided: column.kind, notation: column.notation, columns: options };
            const isOpen = open === column.name && onChange !== undefined;
            return (
              <Fragment key={column.name}>
                <tr data-selected={isOpen}>
                  <th scope="row">{column.name}</th>
                  <td>
                    {onChange === undefined ? (
                      <>
                        {column.kind} {column.notation !== null && <span className="hint notation">{column.notation}</span>}
                      </>
                    ) : (
                      <ReadingCell {...reading} onChange={onChange} isOpen={isOpen} onOpen={(wanted) => setOpen(wanted ? column.name : null)} />
                    )}
                  </td>
                  <CountCells column={column} />
                  <td className="number">{typeof column.mean === "number" ? format.value(column.mean) : format.MISSING}</td>
                  <td>
                    <Histogram column={column} />
                  </td>
                  <td className="muted cut">{valuesOf(column)}</td>
                </tr>
                {isOpen && (
                  <tr>
                    <td colSpan={7}>
                      <ReadingFields {...reading} onChange={onChange} problems={problems} />
                    </td>
                  </tr>
                )}
              </Fragment>
            );
          })}
        </tbody>
      </table>
      {columns.length > SHOWN_COLUMNS && <p className="hint">{t("dataset.more_columns", { n: format.count(columns.length - SHOWN_COLUMNS) })}</p>}
    </TableFrame>
  );
}

const WIDTH = 96;
const HEIGHT = 22;

/** The histogram of a column of numbers, or the counts of its most frequent values; pointing at a bar says which it is. */
function Histogram({ column }: { column: Column }) {
  const counts = barsOf(column);
  const labels = barLabels(column);
  const highest = Math.max(...counts, 1);
  if (counts.length === 0) return null;
  const width = WIDTH / counts.length;
  return (
    <svg className="histogram" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} width={WIDTH} height={HEIGHT} role="img" aria-label={labels.join("; ")}>
      {counts.map((count, at) => (
        <g key={at}>
          <title>{labels[at]}</title>
          <rect className="histogram-ground" x={at * width} width={width} y={0} height={HEIGHT} />
          <rect x={at * width} width={Math.max(1, width - 0.6)} y={HEIGHT - (count / highest) * HEIGHT} height={count === 0 ? 0 : Math.max(0.75, (count / highest) * HEIGHT)} />
        </g>
      ))}
    </svg>
  );
}

function FirstRows({ dataset }: { dataset: Schemas["DatasetDetail"] }) {
  const t = useText();
  const rows = dataset.first_rows ?? [];
  const names = Object.keys(rows[0] ?? {}).slice(0, SHOWN_COLUMNS);
  if (rows.length === 0) return null;
  return (
    <TableFrame label={t("dataset.first_rows")}>
      <table className="table">
        <caption>{t("dataset.first_rows")}</caption>
        <thead>
          <tr>
            {names.map((name) => (
              <th key={name}>{name}</th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row, at) => (
            <tr key={at}>
              {names.map((name) => (
                <td key={name} className="cut">
                  {format.shown(row[name])}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </TableFrame>
  );
}

function Remove({ name }: { name: string }) {
  const t = useText();
  const navigate = useNavigate();
  const queryClient = useQueryClient();
  const [isAsked, setIsAsked] = useState(false);
  const remove = useMutation({
    mutationFn: () => answer(api.DELETE("/api/v1/datasets/{name}", { params: { path: { name } } })),
    onSuccess: async () => {
      await queryClient.invalidateQueries({ queryKey: ["datasets"] });
      await navigate({ to: "/datasets" });
    },
    onError: () => setIsAsked(false),
  });
  return (
    <>
      <button type="button" className="button" onClick={() => setIsAsked(true)}>
        {t("action.remove")}
      </button>
      <ErrorNote error={remove.error} />
      {isAsked && (
        <Confirm title={t("dataset.remove", { name })} action={t("action.remove")} isDanger isBusy={remove.isPending} onConfirm={() => remove.mutate()} onCancel={() => setIsAsked(false)}>
          <p>{t("dataset.remove_why")}</p>
        </Confirm>
      )}
    </>
  );
}
