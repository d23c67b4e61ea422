/** A model: its versions, what it needs and gives, how good it is, where it comes from; and a form to try it. */

import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";

import { BASE, useSession, type Schemas } from "../api/client";
import { model as modelQuery } from "../api/queries";
import { CopyBlock } from "../components/CopyBlock";
import { FileLink } from "../components/FileLink";
import { metricName } from "../components/metrics";
import { ErrorNote, Loading } from "../components/notices";
import { TableFrame } from "../components/TableFrame";
import * as format from "../language/format";
import { useText } from "../language/language";
import { quoted } from "../start/snippets";
import { Scores } from "../task/results/Scores";
import { Aliases } from "./Aliases";
import { headline } from "./ModelsPage";
import { PredictForm } from "./PredictForm";

const route = getRouteApi("/models/$");

export function ModelPage() {
  const { _splat: name = "" } = route.useParams();
  const { version = "latest" } = route.useSearch();
  const { data, error, refetch } = useQuery(modelQuery(name, version));
  if (data === undefined) return error === null ? <Loading lines={8} /> : <ErrorNote error={error} onRetry={() => void refetch()} />;
  return <Model key={data.version} model={data} />;
}

function Model({ model }: { model: Schemas["ModelDetail"] }) {
  const t = useText();
  const { isTokenRequired } = useSession();
  const place = `api/v1/models/${encodeURIComponent(model.model)}/versions/${model.version}`;
  const final = model.metrics;
  const url = `${location.origin}${BASE}${place}/predict`;
  return (
    <>
      <nav aria-label={t("task.path")} className="crumbs">
        <Link to="/models">{t("nav.models")}</Link>
      </nav>
      <div className="page-head">
        <div>
          <h1>{model.model}</h1>
          <p className="task-line">
            <code className="id">{model.version}</code>
            {model.version === model.latest && <span className="count">latest</span>}
            <span>{t("model.predicts", { target: model.target, kind: t(`kind.${model.task}`) })}</span>
          </p>
        </div>
        <div className="controls-row">
          {model.lineage.task_exists && (
            <Link to="/tasks/$id" params={{ id: model.lineage.task_id }} className="button">
              {t("model.task")}
            </Link>
          )}
          <FileLink className="button button-primary" path={`${place}/download`} name={`${model.version}.zip`}>
            {t("action.download")}
          </FileLink>
        </div>
      </div>
      <div className="columns">
        <div>
          <section className="step">
            <h2>{t("model.try")}</h2>
            <PredictForm model={model} />
          </section>
          {final?.baselines !== undefined && <Scores final={final} scored={final.validation ? "validation" : "train"} />}
          <CopyBlock
            label={t("model.elsewhere")}
            text={command(model, url, isTokenRequired)}
          />
        </div>
        <div>
          <Aliases model={model} />
          <Versions model={model} />
          <Lineage lineage={model.lineage} engine={model.engine} />
          <TableFrame label={t("model.files")}>
            <table className="table">
              <caption>{t("model.files")}</caption>
              <tbody>
                {model.files.map(({ name, bytes }) => (
                  <tr key={name}>
                    <td>
                      <FileLink path={`${place}/files/${encodeURIComponent(name)}`} name={name}>
                        {name}
                      </FileLink>
                    </td>
                    <td className="number">{format.bytes(bytes)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </TableFrame>
        </div>
      </div>
    </>
  );
}

/** The same prediction from a shell. */
function command(model: Schemas["ModelDetail"], url: string, isTokenRequired: boolean): string {
  const isForecast = model.sequence_length !== null;
  const body = isForecast ? "--data-binary @rows.csv" : `-d ${quoted(JSON.stringify({ rows: [model.example] }))}`;
  return [
    `curl -s ${url} \\`,
    ...(!isTokenRequired ? [] : [`     -H "Authorization: Bearer $EPOCHD_TOKEN" \\`]),
    `     -H "Content-Type: ${isForecast ? "text/csv" : "application/json"}" \\`,
    `     ${body}`,
  ].join("\n");
}

function Versions({ model }: { model: Schemas["ModelDetail"] }) {
  const t = useText();
  return (
    <TableFrame label={t("models.versions")}>
      <table className="table">
        <caption>{t("model.versions", { n: format.count(model.version_count) })}</caption>
        <tbody>
          {model.versions.map(({ version, aliases, metrics, finished_at }) => (
            <tr key={version} data-selected={version === model.version}>
              <td>
                <Link to="/models/$" params={{ _splat: model.model }} search={{ version }}>
                  <code>{version.slice(-6)}</code>
                </Link>{" "}
                {aliases.map((alias) => (
                  <span key={alias} className="count">
                    {alias}
                  </span>
                ))}
              </td>
              <td>
                {headline(metrics)
                  .slice(0, 2)
                  .map(([name, value]) => (
                    <span key={name} className="metric">
                      {metricName(name)} <b className="number">{format.value(value)}</b>
                    </span>
                  ))}
              </td>
              <td className="muted">{format.moment(finished_at)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </TableFrame>
  );
}

function Lineage({ lineage, engine }: { lineage: Schemas["Lineage"]; engine: string }) {
  const t = useText();
  const versions = Object.entries(lineage.versions).map(([name, version]) => `${name} ${format.shown(version)}`);
  return (
    <section>
      <h2 className="small-head">{t("model.lineage")}</h2>
      <dl className="facts">
        <dt>{t("tasks.dataset")}</dt>
        <dd>
          {lineage.dataset === null ? (
            format.MISSING
          ) : lineage.dataset.includes("/") ? (
            lineage.dataset
          ) : (
            <Link to="/datasets/$name" params={{ name: lineage.dataset }}>
              {lineage.dataset}
            </Link>
          )}
        </dd>
        {lineage.parent !== null && (
          <>
            <dt>{t("model.parent")}</dt>
            <dd>
              <Link to="/tasks/$id" params={{ id: lineage.parent }}>
                <code>{lineage.parent}</code>
              </Link>
            </dd>
          </>
        )}
        <dt>{t("model.fingerprint")}</dt>
        <dd>
          <code className="id">{lineage.fingerprint?.slice(0, 16) ?? format.MISSING}</code>
        </dd>
        <dt>{t("tasks.engine")}</dt>
        <dd>{lineage.framework ?? format.MISSING}</dd>
        <dt>{t("model.served_by")}</dt>
        <dd>{engine}</dd>
        <dt>{t("model.software")}</dt>
        <dd>{versions.join(", ") || format.MISSING}</dd>
      </dl>
    </section>
  );
}
