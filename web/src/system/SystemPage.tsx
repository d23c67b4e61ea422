/** The server: whether it can train, its slots, the queue, the processes, other machines, and what differs from the database. */

import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";

import { api, data } from "../api/client";
import { health, queue, reconciliation, type State } from "../api/queries";
import { ErrorNote, Loading, StateBadge } from "../components/notices";
import { TableFrame } from "../components/TableFrame";
import * as format from "../language/format";
import { useText } from "../language/language";
import { Agents } from "./Agents";
import { MachineTiles } from "./MachineTiles";


export function SystemPage() {
  const t = useText();
  const { data: told, error, refetch } = useQuery(health);
  if (told === undefined) return error === null ? <Loading lines={8} /> : <ErrorNote error={error} onRetry={() => void refetch()} />;
  const busy = told.slots.total - told.slots.free;
  return (
    <>
      <div className="page-head">
        <h1>{t("nav.system")}</h1>
        <span className={told.status === "ok" ? "verdict-good" : "verdict-bad"}>{told.message}</span>
      </div>
      <div className="tiles">
        <div className="tile">
          <h2>{t("system.slots")}</h2>
          <p className="big number">{t("system.of", { n: format.count(busy), all: format.count(told.slots.total) })}</p>
          <div className="slots" aria-hidden="true">
            {Array.from({ length: Math.min(told.slots.total, 64) }, (_, slot) => (
              <span key={slot} data-busy={slot < busy} />
            ))}
          </div>
        </div>
        <div className="tile">
          <h2>{t("system.tasks")}</h2>
          <dl className="facts">
            {Object.entries(told.jobs).map(([state, n]) => (
              <div key={state} className="fact-line">
                <dt>
                  <Link to="/tasks" search={{ state: state as State }}>
                    <StateBadge state={state as State} />
                  </Link>
                </dt>
                <dd className="number">{format.count(n)}</dd>
              </div>
            ))}
          </dl>
        </div>
        <div className="tile">
          <h2>{t("system.limits")}</h2>
          <dl className="facts">
            <dt>{t("system.memory")}</dt>
            <dd>{told.memory.limit_mb === null ? t("system.no_limit") : `${format.bytes(told.memory.limit_mb * 2 ** 20)} (${told.memory.mechanism ?? ""})`}</dd>
            <dt>{t("system.streams")}</dt>
            <dd className="number">{format.count(told.streams)}</dd>
            <dt>{t("system.dispatcher")}</dt>
            <dd>{told.dispatcher.error ?? t(`system.${told.dispatcher.state}`)}</dd>
          </dl>
        </div>
      </div>
      <Queue />
      <Agents />
      <MachineTiles />
      <Processes />
    </>
  );
}

/** What waits, with its positions; batch predictions wait in the same queue. */
function Queue() {
  const t = useText();
  const { data: waiting, error } = useQuery(queue);
  if (waiting === undefined) return error === null ? <Loading lines={2} /> : <ErrorNote error={error} />;
  const rest = waiting.total - waiting.queue.length;
  return (
    <section className="step">
      <h2>{t("system.queue", { n: format.count(waiting.total) })}</h2>
      {waiting.queue.length === 0 ? (
        <p className="hint">{t("system.queue_empty")}</p>
      ) : (
        <TableFrame label={t("system.queue", { n: format.count(waiting.total) })} isShort>
          <table className="table">
            <thead>
              <tr>
                <th className="number">{t("system.position")}</th>
                <th>{t("tasks.task")}</th>
                <th>{t("system.kind")}</th>
                <th>{t("tasks.dataset")}</th>
                <th className="number">{t("system.priority")}</th>
                <th>{t("system.queued")}</th>
                <th>{t("system.expected")}</th>
                <th>{t("system.waits_for")}</th>
              </tr>
            </thead>
            <tbody>
              {waiting.queue.map(({ position, task_id, kind, name, dataset, priority, queued_at, expected_start, waiting_for }) => (
                <tr key={task_id}>
                  <td className="number">{format.count(position)}</td>
                  <td>
                    {kind === "training" ? (
                      <Link to="/tasks/$id" params={{ id: task_id }}>
                        {name}
                      </Link>
                    ) : (
                      name
                    )}{" "}
                    <span className="id">{task_id.slice(-6)}</span>
                  </td>
                  <td>{t(`system.${kind}`)}</td>
                  <td>{dataset ?? format.MISSING}</td>
                  <td className="number">{format.count(priority)}</td>
                  <td>{format.moment(queued_at)}</td>
                  <td>{format.moment(expected_start)}</td>
                  <td>{waiting_for ?? format.MISSING}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </TableFrame>
      )}
      {rest > 0 && <p className="hint">{t("system.queue_more", { n: format.count(rest) })}</p>}
    </section>
  );
}

/** The processes of running tasks; a button repairs what differs from the database. */
function Processes() {
  const t = useText();
  const queryClient = useQueryClient();
  const { data: found, error } = useQuery(reconciliation);
  const repair = useMutation({
    mutationFn: () => data(api.POST("/api/v1/system/reconcile")),
    onSuccess: () => queryClient.invalidateQueries({ queryKey: ["reconcile"] }),
  });
  if (found === undefined) return <ErrorNote error={error} />;
  return (
    <section className="step">
      <h2>{t("system.processes")}</h2>
      <p className="hint">{found.message}</p>
      {found.running.length > 0 && (
        <TableFrame label={t("system.processes")}>
          <table className="table">
            <thead>
              <tr>
                <th>{t("tasks.task")}</th>
                <th className="number">{t("standing.attempt")}</th>
                <th className="number">PID</th>
                <th className="number">{t("system.memory")}</th>
                <th className="number">{t("system.lease")}</th>
              </tr>
            </thead>
            <tbody>
              {found.running.map((one) => (
                <tr key={one.task_id}>
                  <td>
                    <Link to="/tasks/$id" params={{ id: one.task_id }}>
                      <code>{one.task_id}</code>
                    </Link>
                  </td>
                  <td className="number">{one.attempt}</td>
                  <td className="number">{one.pid ?? format.MISSING}</td>
                  <td className="number">{format.bytes(one.memory)}</td>
                  <td className="number">{format.duration(one.lease_left)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </TableFrame>
      )}
      {found.findings.length > 0 && (
        <div className="note note-warning">
          <ul>
            {found.findings.map(({ code, message, task_id, pid }) => (
              <li key={`${code}${task_id ?? ""}${pid ?? ""}`}>{message}</li>
            ))}
          </ul>
          <button type="button" className="button" disabled={repair.isPending} onClick={() => repair.mutate()}>
            {t("system.repair")}
          </button>
        </div>
      )}
      {repair.data !== undefined && <p role="status">{repair.data.repairs.join(" ") || repair.data.message}</p>}
      <ErrorNote error={repair.error} />
    </section>
  );
}
