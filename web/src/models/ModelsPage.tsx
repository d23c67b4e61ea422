/** All models that have been saved, each with its newest version. */

import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";

import { models } from "../api/queries";
import { metricName } from "../components/metrics";
import { Empty, ErrorNote, Loading } from "../components/notices";
import { TableFrame } from "../components/TableFrame";
import * as format from "../language/format";
import { useText } from "../language/language";

const SHOWN = ["accuracy", "auc", "f1", "r2", "rmse"];

type Values = Record<string, number | null | undefined>;

/** The metrics of a version that say most about it, at most three. */
export function headline(metrics: object | null): [string, number][] {
  return SHOWN.flatMap((name) => {
    const value = (metrics as Values | null)?.[name];
    return typeof value === "number" ? [[name, value] as [string, number]] : [];
  }).slice(0, 3);
}

export function ModelsPage() {
  const t = useText();
  const { data, error, refetch } = useQuery(models);
  if (data === undefined) return error === null ? <Loading lines={6} /> : <ErrorNote error={error} onRetry={() => void refetch()} />;
  if (data.models.length === 0) {
    return (
      <Empty title={t("models.none")}>
        <p>{t("models.none_what")}</p>
        <Link to="/start" className="button button-primary">
          {t("tasks.start")}
        </Link>
      </Empty>
    );
  }
  return (
    <>
      <div className="page-head">
        <h1>{t("nav.models")}</h1>
      </div>
      <TableFrame label={t("nav.models")}>
        <table className="table">
          <caption className="visually-hidden">{t("nav.models")}</caption>
          <thead>
            <tr>
              <th>{t("models.model")}</th>
              <th>{t("models.aliases")}</th>
              <th className="number">{t("models.versions")}</th>
              <th>{t("models.scores")}</th>
              <th>{t("tasks.finished")}</th>
            </tr>
          </thead>
          <tbody>
            {data.models.map(({ model, aliases, versions, newest }) => (
              <tr key={model}>
                <td data-column="task">
                  <Link to="/models/$" params={{ _splat: model }} className="row-link">
                    {model}
                  </Link>
                </td>
                <td>
                  {Object.keys(aliases).map((alias) => (
                    <span key={alias} className="count">
                      {alias}
                    </span>
                  ))}
                </td>
                <td className="number">{format.count(versions)}</td>
                <td>
                  {headline(newest.metrics).map(([name, value]) => (
                    <span key={name} className="metric">
                      {metricName(name)} <b className="number">{format.value(value)}</b>
                    </span>
                  ))}
                </td>
                <td>{format.moment(newest.finished_at)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </TableFrame>
    </>
  );
}
