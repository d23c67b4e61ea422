/** The trainings on a dataset, with their states and scores, and the models that came of them. */

import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";

import { modelsOf, tasksOf } from "../api/queries";
import { Beside, metricName } from "../components/metrics";
import { ErrorNote, Loading, StateBadge, TaskLink } from "../components/notices";
import { TableFrame } from "../components/TableFrame";
import * as format from "../language/format";
import { useText } from "../language/language";

export function UsedBy({ dataset }: { dataset: string }) {
  const t = useText();
  const { data: found, error } = useQuery(tasksOf(dataset));
  const models = useQuery(modelsOf(dataset));
  if (found === undefined) return error === null ? <Loading lines={3} /> : <ErrorNote error={error} />;
  return (
    <section className="step" aria-labelledby="used-by">
      <h2 id="used-by">{t("used.title", { n: format.count(found.total) })}</h2>
      {found.total === 0 ? (
        <p className="hint">{t("used.none")}</p>
      ) : (
        <TableFrame label={t("used.tasks")} isShort>
          <table className="table">
            <caption className="visually-hidden">{t("used.tasks")}</caption>
            <thead>
              <tr>
                <th>{t("tasks.task")}</th>
                <th>{t("tasks.state")}</th>
                <th>{t("tasks.score")}</th>
                <th>{t("group.model")}</th>
                <th>{t("tasks.created")}</th>
              </tr>
            </thead>
            <tbody>
              {found.tasks.map((line) => (
                <tr key={line.task_id}>
                  <td>
                    <TaskLink line={line} />
                  </td>
                  <td>
                    <StateBadge state={line.state} />
                  </td>
                  <td>
                    <span className="metric">{metricName(line.main_metric)}</span>
                    <Beside metric={line.main_metric} value={(line.best_metrics as Record<string, number | null | undefined>)[line.main_metric]} baseline={line.baseline} />
                  </td>
                  <td className="muted">{line.model_type}</td>
                  <td className="muted">{format.moment(line.created_at)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </TableFrame>
      )}
      {found.total > found.tasks.length && <p className="hint">{t("used.more", { n: format.count(found.total - found.tasks.length) })}</p>}
      <ErrorNote error={models.error} />
      {models.data !== undefined && models.data.total > 0 && (
        <p>
          {t("used.models")}{" "}
          {models.data.models.map(({ model, newest, versions }) => (
            <span key={model} className="metric">
              <Link to="/models/$" params={{ _splat: model }} search={{ version: newest.version }}>
                {model}
              </Link>{" "}
              <span className="count">{t("used.versions", { n: format.count(versions) })}</span>
            </span>
          ))}
        </p>
      )}
    </section>
  );
}
