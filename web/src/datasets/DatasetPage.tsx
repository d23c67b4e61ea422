/** A dataset: how each column is read, what is in it, and its first rows. */

import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import { useState } from "react";

import { api, data as answer, type Schemas } from "../api/client";
import { dataset as datasetQuery } from "../api/queries";
import { Confirm } from "../components/Confirm";
import { Bar, ErrorNote, Loading, Warnings } from "../components/notices";
import { TableFrame } from "../components/TableFrame";
import * as format from "../language/format";
import { useText } from "../language/language";
import { barsOf, columnsOf, valuesOf, type Column } from "./columns";

const route = getRouteApi("/datasets/$name");
const SHOWN_COLUMNS = 200;

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
      {data.notes !== null && data.notes.length > 0 && (
        <div className="note">
          <ul>
            {data.notes.map((note) => (
              <li key={note}>{note}</li>
            ))}
          </ul>
        </div>
      )}
      <Profile columns={columnsOf(data)} />
      <FirstRows dataset={data} />
    </>
  );
}

function Profile({ columns }: { columns: readonly Column[] }) {
  const t = useText();
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
          {columns.slice(0, SHOWN_COLUMNS).map((column) => (
            <tr key={column.name}>
              <th scope="row">{column.name}</th>
              <td>
                {column.kind} {column.notation !== null && <span className="hint notation">{column.notation}</span>}
              </td>
              <td className="number">{column.missing === 0 ? format.MISSING : format.count(column.missing)}</td>
              <td className="number">{format.count(column.distinct)}</td>
              <td className="number">{typeof column.mean === "number" ? format.value(column.mean) : format.MISSING}</td>
              <td>
                <Histogram column={column} />
              </td>
              <td className="muted cut">{valuesOf(column)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {columns.length > SHOWN_COLUMNS && <p className="hint">{t("dataset.more_columns", { n: format.count(columns.length - SHOWN_COLUMNS) })}</p>}
    </TableFrame>
  );
}

const WIDTH = 96;
const HEIGHT = 22;

/** The histogram of a column of numbers, or the counts of its most frequent values. */
function Histogram({ column }: { column: Column }) {
  const counts = barsOf(column);
  const highest = Math.max(...counts, 1);
  if (counts.length === 0) return null;
  const width = WIDTH / counts.length;
  return (
    <svg className="histogram" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} width={WIDTH} height={HEIGHT} role="img" aria-label={counts.map((count) => format.count(count)).join(", ")}>
      {counts.map((count, at) => (
        <rect key={at} x={at * width} width={Math.max(1, width - 0.6)} y={HEIGHT - (count / highest) * HEIGHT} height={(count / highest) * HEIGHT} />
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
