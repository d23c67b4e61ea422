/**
 * How a task goes on: what may change when it does, and the receipt of the server, which says what the checkpoint restores
 * and shows the learning rates before and after.
 */

import { queryOptions, useQuery, useQueryClient } from "@tanstack/react-query";
import { useMemo, useState } from "react";

import { ApiError, type Schemas } from "../api/client";
import { schema as schemaQuery, type Config, type TaskDetail } from "../api/queries";
import { aligned } from "../compare/overlay";
import { Chart } from "../components/Chart";
import { Confirm } from "../components/Confirm";
import { ErrorNote, Facts, Loading } from "../components/notices";
import * as format from "../language/format";
import { useText } from "../language/language";
import { applies, fieldOf, type Schema } from "../start/fields";
import { FormField, problemsOf } from "../start/FormField";
import { isEqual } from "./config";

export type Receipt = Schemas["Receipt"];

const OPTIONS = [
  "epochs", "learning_rate", "learning_rate_scheduler", "step_size", "gamma", "patience", "factor", "T_max", "eta_min",
  "early_stopping_patience", "min_delta",
] as const;

interface DialogProps {
  detail: TaskDetail;
  isBusy: boolean;
  error: Error | null;
  onConfirm: (changes: Config) => void;
  onCancel: () => void;
}

/** Asks what changes; the server judges it. A completed task needs more epochs. */
export function ResumeDialog({ detail, isBusy, error, onConfirm, onCancel }: DialogProps) {
  const t = useText();
  const { data: described } = useQuery(schemaQuery);
  const isCompleted = detail.state === "completed";
  const [changes, setChanges] = useState<Config>(() => (isCompleted ? { epochs: detail.total_epochs * 2 } : {}));
  const now = detail.config as Config;
  const config = { ...now, ...changes };
  const schema = described as Schema | undefined;
  const problems = error instanceof ApiError ? error.problems : [];
  const names = OPTIONS.filter((name) => schema?.properties?.[name] !== undefined && applies(name, config, schema));
  const elsewhere = error !== null && !names.some((name) => problemsOf(problems, name).length > 0);
  const change = (name: string, value: unknown): void => {
    const rest = Object.fromEntries(Object.entries(changes).filter(([other]) => other !== name));
    setChanges(value === undefined || isEqual(value, now[name]) ? rest : { ...rest, [name]: value });
  };
  return (
    <Confirm
      title={t(isCompleted ? "confirm.longer" : "confirm.resume")}
      action={t(isCompleted ? "action.continue" : "action.resume")}
      isBusy={isBusy}
      onConfirm={() => onConfirm(changes)}
      onCancel={onCancel}
    >
      <p>{t("confirm.resume_why", { done: format.count(detail.current_epoch) })}</p>
      {schema === undefined ? (
        <Loading lines={4} />
      ) : (
        <div className="fields">
          {names.map((name) => (
            <FormField key={name} field={fieldOf(name, { ...schema.properties?.[name], default: now[name] })} value={changes[name]} judged={now[name]} problems={problemsOf(problems, name)} onChange={(value) => change(name, value)} />
          ))}
        </div>
      )}
      {elsewhere && <ErrorNote error={error} />}
    </Confirm>
  );
}

/** The receipt of the last resume of a task in this visit; the server does not store it. */
const receiptOf = (id: string) => queryOptions<Receipt | null>({ queryKey: ["receipt", id], queryFn: () => null, enabled: false });

export function useKeepReceipt(): (id: string, receipt: Receipt | null) => void {
  const queryClient = useQueryClient();
  return (id, receipt) => queryClient.setQueryData(receiptOf(id).queryKey, receipt);
}

export function ReceiptNote({ id }: { id: string }) {
  const t = useText();
  const keep = useKeepReceipt();
  const { data: receipt } = useQuery(receiptOf(id));
  const curves = receipt?.learning_rate;
  const { x, series } = useMemo(() => overlaid(curves, t("receipt.before"), t("receipt.after")), [curves, t]);
  if (!receipt) return null;
  return (
    <section className="note receipt" aria-label={t("receipt.title")}>
      <div className="receipt-head">
        <h2>{t("receipt.title")}</h2>
        <button type="button" className="button button-quiet" onClick={() => keep(id, null)}>
          {t("receipt.close")}
        </button>
      </div>
      {receipt.from === "beginning" ? <p>{t("receipt.beginning")}</p> : <Restored receipt={receipt} />}
      {x.length > 0 && <Chart title={t("chart.learning_rate")} x={x} series={series} note={receipt.learning_rate.note ?? undefined} height={150} />}
    </section>
  );
}

function Restored({ receipt }: { receipt: Extract<Receipt, { from: "checkpoint" }> }) {
  const t = useText();
  const { position, optimizer, schedule, patience, best_epoch: best } = receipt;
  const facts = [
    [t("receipt.position"), position ? t("receipt.place", { epochs: format.count(position.epochs_done), steps: format.count(position.steps_done_in_epoch) }) : format.count(receipt.epoch)],
    [t("receipt.weights"), t(receipt.weights === true ? "results.yes" : "results.no")],
    [t("receipt.optimizer"), optimizer ?? format.MISSING],
    [t("chart.learning_rate"), schedule ? `${format.value(schedule.learning_rate)} (${schedule.scheduler ?? "constant"})` : format.MISSING],
    [t("receipt.patience"), patience?.patience == null ? format.MISSING : `${format.count(patience.wait)} / ${format.count(patience.patience)}`],
    [t("standing.best"), best == null ? format.MISSING : format.count(best)],
  ] as const;
  return <Facts facts={facts} />;
}

/** The learning rates over the same epochs; before and after are one line where nothing has changed. */
function overlaid(curves: Schemas["RateCurves"] | undefined, before: string, after: string) {
  const rates = [curves?.before ?? [], curves?.after ?? []].map((points) => new Map(points.map(([epoch, rate]) => [epoch ?? 0, rate ?? null])));
  const { x, values } = aligned(rates);
  const isChanged = JSON.stringify(curves?.before) !== JSON.stringify(curves?.after);
  return {
    x,
    series: [
      ...(isChanged ? [{ label: before, colour: "--series-1", values: values[0] ?? [], dash: [6, 3] }] : []),
      { label: after, colour: "--series-2", values: values[1] ?? [] },
    ],
  };
}
