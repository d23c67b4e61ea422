/** The config of a task: what is not a default first, and all of it on request. */

import { useQuery } from "@tanstack/react-query";
import { useState } from "react";

import { schema, type TaskDetail } from "../api/queries";
import { CopyBlock } from "../components/CopyBlock";
import { ErrorNote, Loading } from "../components/notices";
import { TableFrame } from "../components/TableFrame";
import * as format from "../language/format";
import { useText } from "../language/language";
import { compared, shortest } from "./config";

export function ConfigTab({ detail }: { detail: TaskDetail }) {
  const t = useText();
  const { data, error } = useQuery(schema);
  const [isWhole, setIsWhole] = useState(false);
  if (data === undefined) return error === null ? <Loading /> : <ErrorNote error={error} />;
  const options = compared(detail.config, data);
  const shown = options.filter(({ isChanged }) => isWhole || isChanged);
  return (
    <>
      <div className="toolbar">
        <label className="inline">
          <input type="checkbox" checked={isWhole} onChange={(event) => setIsWhole(event.target.checked)} /> {t("config.whole")}
        </label>
        <span className="hint">{t("config.changed", { n: options.filter(({ isChanged }) => isChanged).length, all: options.length })}</span>
      </div>
      <div className="columns">
        <TableFrame label={t("task.config")}>
          <table className="table">
            <thead>
              <tr>
                <th>{t("config.option")}</th>
                <th>{t("config.value")}</th>
                <th>{t("config.default")}</th>
              </tr>
            </thead>
            <tbody>
              {shown.map(({ name, value, preset, isChanged }) => (
                <tr key={name} data-selected={isWhole && isChanged}>
                  <th scope="row">
                    <code>{name}</code>
                  </th>
                  <td>{format.shown(value)}</td>
                  <td className="muted">{preset === undefined ? format.MISSING : format.shown(preset)}</td>
                </tr>
              ))}
            </tbody>
          </table>
          <Revisions detail={detail} />
        </TableFrame>
        <CopyBlock label={t("config.json")} text={JSON.stringify(isWhole ? detail.config : shortest(detail.config, data), null, 2)} />
      </div>
    </>
  );
}

/** What was changed when the task was resumed. */
function Revisions({ detail }: { detail: TaskDetail }) {
  const t = useText();
  if (detail.revisions.length === 0) return null;
  return (
    <>
      <h3>{t("config.revisions")}</h3>
      <ul>
        {detail.revisions.map(({ at, changes }) => (
          <li key={at}>
            <time>{format.moment(new Date(at * 1000).toISOString())}</time>:{" "}
            {Object.entries(changes)
              .map(([name, [before, after]]) => `${name} ${format.shown(before)} → ${format.shown(after)}`)
              .join(", ")}
          </li>
        ))}
      </ul>
    </>
  );
}
