/** What a page shows while it waits, when there is nothing, and when something is wrong; and tasks, their states and facts in short. */

import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";

import { ApiError, type Problem } from "../api/client";
import type { State, TaskLine } from "../api/queries";
import type { Key } from "../language/catalogue";
import { useText } from "../language/language";

/** An error in the server's words, with what it advises. */
export function ErrorNote({ error, onRetry }: { error: unknown; onRetry?: () => void }) {
  const t = useText();
  if (error === null || error === undefined) return null;
  const isUnreachable = error instanceof ApiError && error.code === "unreachable";
  const isLoggedOut = error instanceof ApiError && error.status === 401; // seen after the next login
  const told = isUnreachable ? t("error.unreachable") : isLoggedOut ? t("error.session") : null;
  const message = told ?? (error instanceof Error ? error.message : JSON.stringify(error));
  const problems = error instanceof ApiError ? error.problems : [];
  return (
    <div className="note note-error" role="alert">
      <p>{message}</p>
      <Problems problems={problems} said={message} />
      {onRetry !== undefined && (
        <button type="button" className="button" onClick={onRetry}>
          {t("action.try_again")}
        </button>
      )}
    </div>
  );
}

/** The hints of problems, and those sentences of them that the message does not have. */
function Problems({ problems, said }: { problems: readonly Problem[]; said: string }) {
  const shown = problems.filter(({ message, hint }) => !said.includes(message) || (hint !== "" && !said.includes(hint)));
  if (shown.length === 0) return null;
  return (
    <ul className="problems">
      {shown.map(({ field, message, hint }) => (
        <li key={`${field} ${message}`}>
          {!said.includes(message) && (
            <>
              <code>{field}</code> {message}
            </>
          )}{" "}
          {hint !== "" && <span className="hint">{hint}</span>}
        </li>
      ))}
    </ul>
  );
}

export function Warnings({ warnings }: { warnings: readonly string[] }) {
  const t = useText();
  if (warnings.length === 0) return null;
  return (
    <div className="note note-warning">
      <h3 className="note-title">{t("warnings.title", { n: warnings.length })}</h3>
      <ul>
        {warnings.map((warning) => (
          <li key={warning}>{warning}</li>
        ))}
      </ul>
    </div>
  );
}

/** Grey lines where content will be. */
export function Loading({ lines = 5 }: { lines?: number }) {
  const t = useText();
  return (
    <div className="loading" role="status">
      <span className="visually-hidden">{t("loading")}</span>
      {Array.from({ length: lines }, (_, line) => (
        <span key={line} className="loading-line" />
      ))}
    </div>
  );
}

export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="empty">
      <svg className="empty-picture" viewBox="0 0 120 60" aria-hidden="true">
        <path d="M4 10 C 30 12, 30 46, 60 46 S 92 40, 116 36" />
        <path d="M4 18 C 30 22, 36 40, 60 38 S 92 30, 116 28" />
        <line x1="4" y1="56" x2="116" y2="56" />
      </svg>
      <h2>{title}</h2>
      {children}
    </div>
  );
}

export function Missing() {
  const t = useText();
  return (
    <Empty title={t("error.no_page")}>
      <Link to="/tasks" className="button">
        {t("nav.tasks")}
      </Link>
    </Empty>
  );
}

/** The state of a task: its form says as much as its colour. */
export function StateBadge({ state }: { state: State }) {
  const t = useText();
  return (
    <span className="state" data-state={state}>
      <span className="state-sign" aria-hidden="true" />
      {t(`state.${state}` satisfies Key)}
    </span>
  );
}

/** A share of a whole, from 0 to 1. */
export function Bar({ share, label, state }: { share: number; label: string; state?: State | undefined }) {
  return (
    <progress className="bar" data-state={state} max={1} value={Math.min(1, Math.max(0, share))} aria-label={label}>
      {label}
    </progress>
  );
}

/** Facts beside each other, each under its name. */
export function Facts({ facts }: { facts: readonly (readonly [string, string])[] }) {
  return (
    <dl className="facts facts-row">
      {facts.map(([label, value]) => (
        <div key={label}>
          <dt>{label}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** What the server has noticed when it read a dataset. */
export function Notes({ notes }: { notes: readonly string[] | null }) {
  if (notes === null || notes.length === 0) return null;
  return (
    <div className="note">
      <ul>
        {notes.map((note) => (
          <li key={note}>{note}</li>
        ))}
      </ul>
    </div>
  );
}

/** The name of a task and the end of its id, which tells tasks of one name apart. */
export function TaskLink({ line, className }: { line: Pick<TaskLine, "task_id" | "name">; className?: string }) {
  return (
    <Link to="/tasks/$id" params={{ id: line.task_id }} className={className}>
      {line.name} <span className="id">{line.task_id.slice(-6)}</span>
    </Link>
  );
}
