/** One task: where it stands, what can be done with it, its curves, its results, its config and its log. */

import { getRouteApi, Link } from "@tanstack/react-router";
import { Tabs } from "radix-ui";
import { lazy, Suspense, useEffect, useState } from "react";

import { isFinal, type State, type TaskDetail } from "../api/queries";
import { Bar, ErrorNote, Facts, Loading, StateBadge, Warnings } from "../components/notices";
import * as format from "../language/format";
import { useText, type Text } from "../language/language";
import { TASK_TABS, type TaskTab } from "../router";
import { ConfigTab } from "./ConfigTab";
import { Controls } from "./Controls";
import { pace, type Activity } from "./curves";
import { CurvesTab } from "./CurvesTab";
import { LogTab } from "./LogTab";
import { ReceiptNote } from "./Resume";
import { Timings } from "./Timings";
import { useTraining, type Training } from "./training";

const route = getRouteApi("/tasks/$id");

/** Its figures are loaded when they are looked at. */
const ResultsTab = lazy(() => import("./ResultsTab").then((found) => ({ default: found.ResultsTab })));

export function TaskPage() {
  const { id } = route.useParams();
  return <Task key={id} id={id} />;
}

function Task({ id }: { id: string }) {
  const t = useText();
  const { tab = "curves" } = route.useSearch();
  const navigate = route.useNavigate();
  const training = useTraining(id);
  const { detail, curves, error } = training;
  if (detail === undefined) return error === null ? <Loading lines={8} /> : <ErrorNote error={error} />;
  const state = curves.state ?? detail.state;
  const warnings = [...new Set([...detail.warnings, ...(detail.summary.metrics?.warnings ?? [])])];
  return (
    <>
      <nav aria-label={t("task.path")} className="crumbs">
        <Link to="/tasks">{t("nav.tasks")}</Link>
      </nav>
      <div className="page-head">
        <div>
          <h1>{detail.name}</h1>
          <p className="task-line">
            <StateBadge state={state} />
            <code className="id">{id}</code>
            <Relatives detail={detail} />
          </p>
        </div>
        <Controls detail={detail} state={state} />
      </div>
      <Standing training={training} detail={detail} state={state} />
      {detail.state !== "pending" && detail.state !== "running" && <Timings timings={detail.timings} />}
      <Trouble training={training} detail={detail} />
      <ReceiptNote id={id} />
      <Warnings warnings={warnings} />
      <Tabs.Root
        value={tab}
        onValueChange={(chosen) =>
          void navigate({ search: (before) => ({ ...before, tab: chosen === "curves" ? undefined : (chosen as TaskTab) }) as never, replace: true })
        }
      >
        <Tabs.List className="tabs" aria-label={t("task.parts")}>
          {TASK_TABS.map((one) => (
            <Tabs.Trigger key={one} value={one} className="tab">
              {t(`task.${one}`)}
            </Tabs.Trigger>
          ))}
        </Tabs.List>
        <Tabs.Content value="curves" className="tab-content">
          <CurvesTab curves={curves} detail={detail} state={state} />
        </Tabs.Content>
        <Tabs.Content value="results" className="tab-content">
          <Suspense fallback={<Loading lines={8} />}>
            <ResultsTab detail={detail} />
          </Suspense>
        </Tabs.Content>
        <Tabs.Content value="config" className="tab-content">
          <ConfigTab detail={detail} />
        </Tabs.Content>
        <Tabs.Content value="log" className="tab-content">
          <LogTab id={id} notes={curves.notes} />
        </Tabs.Content>
      </Tabs.Root>
    </>
  );
}

/** The tasks that this one comes from, and those that come from it. */
function Relatives({ detail }: { detail: TaskDetail }) {
  const t = useText();
  const related = [
    ...(detail.parent === null ? [] : [[t("task.parent"), detail.parent] as const]),
    ...(detail.replay_of === null ? [] : [[t("task.replay_of"), detail.replay_of] as const]),
    ...detail.children.map((child) => [t("task.child"), child] as const),
  ];
  return related.map(([label, other]) => (
    <span key={other} className="relative">
      {label}{" "}
      <Link to="/tasks/$id" params={{ id: other }}>
        <code>{other.slice(-6)}</code>
      </Link>
    </span>
  ));
}

/** What a running training uses of the machine. */
function used(t: Text, activity: Activity | null): (readonly [string, string])[] {
  if (activity === null) return [];
  const { memory, cpu, gpus } = activity;
  return [
    ...(memory === null ? [] : [[t("standing.memory"), format.bytes(memory)] as const]),
    ...(cpu === null ? [] : [[t("standing.cpu"), t("standing.cores", { n: format.tick(Math.round(cpu * 10) / 10) })] as const]),
    ...gpus.map((gpu) => {
      const memory = `${format.bytes(gpu.memory)} / ${format.bytes(gpu.memory_total)}`;
      return [`GPU ${String(gpu.id)}`, gpu.utilization === null ? memory : `${format.share(gpu.utilization)} · ${memory}`] as const;
    }),
  ];
}

/** How far it is, how fast, and how long it will take. */
function Standing({ training, detail, state }: { training: Training; detail: TaskDetail; state: State }) {
  const t = useText();
  const { curves } = training;
  const now = useNow(state === "running");
  const done = Math.max(curves.rows.at(-1)?.epoch ?? 0, curves.cursor === 0 ? detail.current_epoch : 0);
  const all = curves.totalEpochs ?? detail.total_epochs;
  const { secondsPerEpoch, rowsPerSecond, secondsLeft } = pace(curves);
  const summary = detail.summary;
  const epochs = t("tasks.epochs", { done: format.count(done), all: format.count(all) });
  const facts = [
    [t("standing.left"), state === "pending" && detail.queue_position !== null ? t("standing.queued", { n: detail.queue_position }) : format.duration(secondsLeft)],
    [t("standing.per_epoch"), format.duration(secondsPerEpoch)],
    [t("standing.rows"), rowsPerSecond === null ? format.MISSING : t("standing.rows_per_second", { n: format.count(rowsPerSecond) })],
    [t("tasks.duration"), format.duration(format.between(detail.started_at, detail.finished_at, now))],
    [t("standing.best"), curves.bestEpoch === null ? format.MISSING : format.count(curves.bestEpoch)],
    [t("standing.engine"), [detail.model_type, summary.framework ?? detail.framework, summary.device].filter(Boolean).join(" · ")],
    [t("standing.parameters"), format.count(summary.parameters)],
    [t("tasks.dataset"), detail.dataset ?? format.MISSING],
    ...(detail.attempt > 1 ? [[t("standing.attempt"), String(detail.attempt)] as const] : []),
    ...used(t, curves.activity),
  ] as const;
  // The place within an epoch of less than a second could not be read.
  const isSlow = secondsPerEpoch === null || secondsPerEpoch >= 1;
  return (
    <section className="standing" aria-label={t("task.standing")}>
      <div className="standing-bar">
        <Bar share={state === "completed" ? 1 : all > 0 ? done / all : 0} label={epochs} state={state} />
        <span className="number" data-testid="epochs">
          {epochs}
        </span>
        {isSlow && curves.activity !== null && <WithinEpoch activity={curves.activity} />}
      </div>
      <Facts facts={facts} />
    </section>
  );
}

/** The place within the epoch, as of the last heartbeat. */
function WithinEpoch({ activity }: { activity: Activity }) {
  const t = useText();
  const { epoch, step, steps } = activity;
  const text = step >= steps ? t("standing.validating", { n: format.count(epoch) }) : t("standing.within", { n: format.count(epoch), share: format.share(step / steps) });
  return (
    <span className="within">
      <progress className="bar" max={steps} value={step} aria-label={text} /> <span className="muted">{text}</span>
    </span>
  );
}

function useNow(isRunning: boolean): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    if (!isRunning) return;
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, [isRunning]);
  return now;
}

/** Why it does not go on, and whether the page still hears from it. */
function Trouble({ training, detail }: { training: Training; detail: TaskDetail }) {
  const t = useText();
  const { connection, streamError } = training;
  return (
    <>
      {connection === "disconnected" && !isFinal(detail.state) && (
        <div className="note note-warning" role="status">
          {t("stream.disconnected")} {streamError !== null && streamError.code !== "unreachable" && streamError.message}
        </div>
      )}
      {detail.error !== null && (
        <div className="note note-error" role="alert">
          <p>{detail.error.message}</p>
          <ul className="problems">
            {detail.error.problems.map(({ field, message, hint }) => (
              <li key={`${field}${message}`}>
                <code>{field}</code> {message} <span className="hint">{hint}</span>
              </li>
            ))}
          </ul>
          {detail.error.log_tail && detail.error.log_tail.length > 0 && <pre className="log-part">{detail.error.log_tail.join("\n")}</pre>}
        </div>
      )}
      {detail.stalled_seconds !== null && (
        <div className="note note-warning">{t("task.stalled", { time: format.duration(detail.stalled_seconds) })}</div>
      )}
    </>
  );
}
