/** The datasets that the server has, and the place to add one. */

import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";

import { datasets } from "../api/queries";
import { ErrorNote, Loading } from "../components/notices";
import { TableFrame } from "../components/TableFrame";
import * as format from "../language/format";
import { useText } from "../language/language";
import { DropZone } from "../start/DatasetPicker";

export function DatasetsPage() {
  const t = useText();
  const navigate = useNavigate();
  const { data, error, refetch } = useQuery(datasets);
  if (data === undefined) return error === null ? <Loading lines={6} /> : <ErrorNote error={error} onRetry={() => void refetch()} />;
  return (
    <>
      <div className="page-head">
        <h1>{t("nav.datasets")}</h1>
      </div>
      <DropZone onAdded={(name) => void navigate({ to: "/datasets/$name", params: { name } })} />
      <TableFrame label={t("nav.datasets")}>
        <table className="table">
          <caption className="visually-hidden">{t("nav.datasets")}</caption>
          <thead>
            <tr>
              <th>{t("datasets.name")}</th>
              <th>{t("datasets.kind")}</th>
              <th className="number">{t("start.rows")}</th>
              <th className="number">{t("start.columns")}</th>
              <th className="number">{t("datasets.size")}</th>
              <th>{t("datasets.updated")}</th>
              <th>
                <span className="visually-hidden">{t("tasks.start")}</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {data.datasets.map(({ name, kind, rows, columns, bytes, updated_at }) => (
              <tr key={name}>
                <td data-column="task">
                  <Link to="/datasets/$name" params={{ name }} className="row-link">
                    {name}
                  </Link>
                </td>
                <td>{t(`dataset.${kind}`)}</td>
                <td className="number">{format.count(rows)}</td>
                <td className="number">{format.count(columns)}</td>
                <td className="number">{format.bytes(bytes)}</td>
                <td>{format.moment(updated_at)}</td>
                <td>
                  <Link to="/start" search={{ dataset: name }} className="button button-quiet">
                    {t("datasets.train")}
                  </Link>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </TableFrame>
    </>
  );
}
