/** The other machines that train for the server: agents, and nodes of a Ray cluster. */

import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";

import { agents } from "../api/queries";
import { ErrorNote } from "../components/notices";
import { TableFrame } from "../components/TableFrame";
import * as format from "../language/format";
import { useText } from "../language/language";

/** Nothing where the server trains alone. */
export function Agents() {
  const t = useText();
  const { data: found, error } = useQuery(agents);
  if (found === undefined) return <ErrorNote error={error} />;
  if (found.agents.length === 0 && (found.ray_error ?? null) === null) return null;
  return (
    <section className="step">
      <h2>{t("system.agents", { n: format.count(found.agents.length) })}</h2>
      {(found.ray_error ?? null) !== null && <p className="note note-warning">{found.ray_error}</p>}
      <TableFrame label={t("system.agents", { n: format.count(found.agents.length) })} isShort>
        <table className="table">
          <thead>
            <tr>
              <th>{t("system.agent")}</th>
              <th>{t("system.agent_state")}</th>
              <th>{t("system.address")}</th>
              <th className="number">{t("system.slots")}</th>
              <th className="number">GPU</th>
              <th>{t("system.frameworks")}</th>
              <th>{t("system.tasks")}</th>
            </tr>
          </thead>
          <tbody>
            {found.agents.map((one) => (
              <tr key={one.name}>
                <td>{one.name}</td>
                <td>
                  {t(`system.agent_${one.state}`)}
                  {one.error !== null && <p className="hint">{one.error}</p>}
                </td>
                <td>{one.hostname}</td>
                <td className="number">{t("system.of", { n: format.count(one.slots - one.free_slots), all: format.count(one.slots) })}</td>
                <td className="number">{format.count(one.gpus.length)}</td>
                <td>{one.frameworks.join(", ")}</td>
                <td>
                  {one.tasks.map((id) => (
                    <Link key={id} to="/tasks/$id" params={{ id }} className="id">
                      {id.slice(-6)}{" "}
                    </Link>
                  ))}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </TableFrame>
    </section>
  );
}
