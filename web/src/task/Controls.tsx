/** What can be done with a task: pause, resume, stop, retry, continue, change a copy, remove, and take its model. */

import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { useState, type ReactNode } from "react";

import { api, data } from "../api/client";
import { isFinal, type Config, type State, type TaskDetail } from "../api/queries";
import { Confirm } from "../components/Confirm";
import { FileLink } from "../components/FileLink";
import { ErrorNote } from "../components/notices";
import { useText } from "../language/language";
import { freedBy, isAllowed, type Freed } from "../tasks/actions";
import { FreedSpace } from "../tasks/FreedSpace";
import { ResumeDialog, useKeepReceipt } from "./Resume";

type Order = "pause" | "stop" | "retry" | "remove" | { changes: Config };

export function Controls({ detail, state }: { detail: TaskDetail; state: State }) {
  const t = useText();
  const navigate = useNavigate();
  const queryClient = useQueryClient();
  const [asked, setAsked] = useState<"stop" | "remove" | "continue" | "resume" | null>(null);
  const [freed, setFreed] = useState<Freed | null>(null);
  const keepReceipt = useKeepReceipt();
  const id = detail.task_id;
  const path = { params: { path: { task_id: id } } };

  const order = useMutation({
    mutationFn: async (given: Order): Promise<string | null> => {
      switch (given) {
        case "pause":
          await data(api.POST("/api/v1/epoch-training/pause/{task_id}", path));
          return null;
        case "stop":
          await data(api.POST("/api/v1/epoch-training/stop/{task_id}", path));
          return null;
        case "retry":
          return (await data(api.POST("/api/v1/epoch-training/retry/{task_id}", path))).task_id;
        case "remove":
          await data(api.DELETE("/api/v1/epoch-training/tasks/{task_id}", path));
          return "";
        default:
          return await goOn(given.changes);
      }
    },
    onSuccess: async (next) => {
      setAsked(null);
      if (next === "") await navigate({ to: "/tasks" });
      else if (next !== null) await navigate({ to: "/tasks/$id", params: { id: next } });
    },
    onError: (_, given) => {
      if (typeof given === "string") setAsked(null); // a dialog with options shows what is wrong with them
    },
    onSettled: () => queryClient.invalidateQueries({ queryKey: ["task", id] }),
  });

  /** A completed task continues as a new one, a paused one itself. */
  const goOn = async (changes: Config): Promise<string | null> => {
    if (state === "completed") {
      const next = await data(api.POST("/api/v1/epoch-training/continue/{task_id}", { ...path, body: changes as never }));
      keepReceipt(next.task_id, next.receipt);
      return next.task_id;
    }
    keepReceipt(id, (await data(api.POST("/api/v1/epoch-training/resume/{task_id}", { ...path, body: changes as never }))).receipt);
    return null;
  };

  const isChanging = asked === "continue" || asked === "resume";
  const ask = (question: "continue" | "resume"): void => {
    order.reset();
    setAsked(question);
  };
  const button = (label: string, onClick: () => void, kind = ""): ReactNode => (
    <button type="button" className={`button ${kind}`} disabled={order.isPending} onClick={onClick}>
      {label}
    </button>
  );
  return (
    <div className="controls">
      <div className="controls-row">
        {isAllowed("pause", state) && button(t("action.pause"), () => order.mutate("pause"), "button-primary")}
        {state === "paused" && button(t("action.resume"), () => order.mutate({ changes: {} }), "button-primary")}
        {state === "paused" && button(t("action.resume_changed"), () => ask("resume"))}
        {isAllowed("stop", state) && button(t("action.stop"), () => setAsked("stop"))}
        {(state === "failed" || state === "cancelled") && button(t("action.retry"), () => order.mutate("retry"), "button-primary")}
        {state === "completed" && detail.checkpoint !== null && button(t("action.continue"), () => ask("continue"))}
        {detail.artifact !== null && <ModelLinks id={id} />}
        <Link to="/start" search={{ from: id }} className="button">
          {t("action.clone")}
        </Link>
        {isFinal(state) &&
          button(
            t("action.remove"),
            () => {
              setAsked("remove");
              setFreed(null);
              void freedBy(queryClient, [id]).then(setFreed);
            },
            "button-quiet",
          )}
      </div>
      {order.error !== null && !isChanging && <ErrorNote error={order.error} />}
      {asked === "stop" && (
        <Confirm title={t("confirm.stop", { n: 1 })} action={t("action.stop")} isDanger isBusy={order.isPending} onConfirm={() => order.mutate("stop")} onCancel={() => setAsked(null)}>
          <p>{t("confirm.stop_why")}</p>
        </Confirm>
      )}
      {asked === "remove" && (
        <Confirm title={t("confirm.remove", { n: 1 })} action={t("action.remove")} isDanger isBusy={order.isPending} onConfirm={() => order.mutate("remove")} onCancel={() => setAsked(null)}>
          <FreedSpace freed={freed} />
        </Confirm>
      )}
      {isChanging && (
        <ResumeDialog detail={detail} isBusy={order.isPending} error={order.error} onConfirm={(changes) => order.mutate({ changes })} onCancel={() => setAsked(null)} />
      )}
    </div>
  );
}

/** The report and the files of its model. */
function ModelLinks({ id }: { id: string }) {
  const t = useText();
  return (
    <>
      <FileLink className="button" path={`api/v1/epoch-training/tasks/${id}/report`}>
        {t("action.report")}
      </FileLink>
      <FileLink className="button" path={`api/v1/models/${id}/download`} name={`${id}.zip`}>
        {t("action.download")}
      </FileLink>
      <Link to="/models/$" params={{ _splat: id }} className="button">
        {t("action.model")}
      </Link>
    </>
  );
}
