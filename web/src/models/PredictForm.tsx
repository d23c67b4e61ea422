/**
 * Rows to predict: one, with a field for each input of the model and the example that it has of it, or a table that is
 * pasted. A model that forecasts needs a table, since it reads windows of rows.
 */

import { useMutation, useQuery } from "@tanstack/react-query";
import { Tabs } from "radix-ui";
import { useId, useState, type SubmitEvent } from "react";

import { api, data, type Schemas } from "../api/client";
import { task } from "../api/queries";
import { ErrorNote, Warnings } from "../components/notices";
import { TableFrame } from "../components/TableFrame";
import * as format from "../language/format";
import { useText } from "../language/language";
import { answerTable, countRows, exampleTable, mediaType, rowsNeeded } from "./rows";

type Model = Schemas["ModelDetail"];
type Input = Model["inputs"][number];
type Answered = Schemas["PredictionsOf"];

const SHOWN_ROWS = 200;

/** Predict what the body contains; its type says what it is. */
function usePrediction(model: Model) {
  return useMutation({
    mutationFn: async ({ body, type }: { body: string; type: string }): Promise<Answered> => {
      const answered = await data(
        api.POST("/api/v1/models/{model}/versions/{version}/predict", {
          params: { path: { model: model.model, version: model.version } },
          body: body as never,
          bodySerializer: (text: unknown) => text as string,
          headers: { "Content-Type": type },
        }),
      );
      return answered as Answered;
    },
  });
}

export function PredictForm({ model }: { model: Model }) {
  const t = useText();
  if (model.sequence_length !== null) return <Forecast model={model} />;
  return (
    <Tabs.Root defaultValue="one">
      <Tabs.List className="tabs tabs-small" aria-label={t("predict.how")}>
        <Tabs.Trigger value="one" className="tab">
          {t("predict.one")}
        </Tabs.Trigger>
        <Tabs.Trigger value="several" className="tab">
          {t("predict.several")}
        </Tabs.Trigger>
      </Tabs.List>
      <Tabs.Content value="one" className="tab-content">
        <OneRow model={model} />
      </Tabs.Content>
      <Tabs.Content value="several" className="tab-content">
        <Rows model={model} initial={exampleTable(model)} />
      </Tabs.Content>
    </Tabs.Root>
  );
}

function initialText(input: Input): string {
  const { example } = input;
  if (example === null || example === undefined) return "";
  return typeof example === "string" ? example : JSON.stringify(example);
}

/** What is sent for a typed value; an empty one is missing, and what does not fit its kind the server explains. */
function valueOf(input: Input, typed: string): unknown {
  const text = typed.trim();
  if (text === "") return null;
  if (input.kind === "number" && Number.isFinite(Number(text))) return Number(text);
  if (input.kind === "boolean" && (text === "true" || text === "false")) return text === "true";
  if (input.kind === "list") {
    try {
      return JSON.parse(text) as unknown;
    } catch {
      return text;
    }
  }
  return typed;
}

function OneRow({ model }: { model: Model }) {
  const t = useText();
  const predict = usePrediction(model);
  const [typed, setTyped] = useState<Record<string, string>>(() => Object.fromEntries(model.inputs.map((input) => [input.name, initialText(input)])));
  const set = (name: string, value: string): void => setTyped((before) => ({ ...before, [name]: value }));
  const submit = (event: SubmitEvent<HTMLFormElement>): void => {
    event.preventDefault();
    const row = Object.fromEntries(model.inputs.map((input) => [input.name, valueOf(input, typed[input.name] ?? "")]));
    predict.mutate({ body: JSON.stringify({ rows: [row] }), type: "application/json" });
  };
  return (
    <form onSubmit={submit}>
      <div className="inputs">
        {model.inputs.map((input, at) => (
          <div key={input.name} className="input">
            <label htmlFor={`input-${at}`}>{input.name}</label>
            <input
              id={`input-${at}`}
              type="text"
              inputMode={input.kind === "number" ? "decimal" : "text"}
              value={typed[input.name] ?? ""}
              onChange={(event) => set(input.name, event.target.value)}
            />
            {input.kind === "image" && <Picture name={input.name} onRead={(address) => set(input.name, address)} />}
          </div>
        ))}
      </div>
      <button type="submit" className="button button-primary" disabled={predict.isPending}>
        {t("predict.predict")}
      </button>
      {predict.data !== undefined && <Answer prediction={predict.data.predictions[0] ?? {}} />}
      <Warnings warnings={predict.data?.warnings ?? []} />
      <ErrorNote error={predict.error} />
    </form>
  );
}

/** A picture of this computer, which is sent as a data URI. */
function Picture({ name, onRead }: { name: string; onRead: (address: string) => void }) {
  const t = useText();
  const id = useId();
  const [chosen, setChosen] = useState("");
  const read = (file: File | undefined): void => {
    if (file === undefined) return;
    setChosen(file.name);
    const reader = new FileReader();
    reader.onload = () => onRead(reader.result as string);
    reader.readAsDataURL(file);
  };
  return (
    <>
      <input id={id} type="file" accept="image/*" className="visually-hidden" aria-label={t("predict.picture_of", { name })} onChange={(event) => read(event.target.files?.[0])} />
      <label htmlFor={id} className="button button-quiet">
        {t("predict.picture")}
      </label>
      <span className="hint">{chosen}</span>
    </>
  );
}

/** The window of a forecast; its rows are as far apart as the rows that the model was trained on. */
function Forecast({ model }: { model: Model }) {
  const t = useText();
  const { task_id, task_exists } = model.lineage;
  const trained = useQuery({ ...task(task_id), enabled: task_exists });
  const needed = rowsNeeded(model);
  const known = model.known_in_advance ?? [];
  return (
    <>
      <p className="hint">{t("predict.windows", { n: model.sequence_length ?? "", horizon: [model.horizon ?? 0].flat().join(", ") })}</p>
      {known.length > 0 && <p className="hint">{t("predict.known", { columns: known.join(", "), n: (needed ?? 0) - (model.sequence_length ?? 0) })}</p>}
      {(trained.data !== undefined || trained.error !== null || !task_exists) && <Rows model={model} initial={exampleTable(model, trained.data?.config.frequency)} />}
    </>
  );
}

/** A table that is typed or pasted, and the predictions as a table. */
function Rows({ model, initial }: { model: Model; initial: string }) {
  const t = useText();
  const id = useId();
  const predict = usePrediction(model);
  const [text, setText] = useState(initial);
  const needed = rowsNeeded(model);
  const count = countRows(text);
  return (
    <form
      onSubmit={(event: SubmitEvent<HTMLFormElement>) => {
        event.preventDefault();
        predict.mutate({ body: text, type: mediaType(text) });
      }}
    >
      <label htmlFor={id}>{t("predict.table")}</label>
      <textarea id={id} className="rows" rows={Math.min(14, count + 2)} wrap="off" spellCheck={false} value={text} aria-describedby={`${id}-rows`} onChange={(event) => setText(event.target.value)} />
      <p id={`${id}-rows`} className={needed !== null && count < needed ? "field-problem" : "hint"}>
        {needed === null ? t("predict.rows", { n: format.count(count) }) : t("predict.rows_of", { n: format.count(count), needed: format.count(needed) })}
      </p>
      <div className="controls-row">
        <button type="submit" className="button button-primary" disabled={predict.isPending || count === 0}>
          {t("predict.predict")}
        </button>
        {text !== initial && (
          <button type="button" className="button" onClick={() => setText(initial)}>
            {t("predict.example")}
          </button>
        )}
      </div>
      <ErrorNote error={predict.error} />
      <Warnings warnings={predict.data?.warnings ?? []} />
      {predict.data !== undefined && <Answers answered={predict.data} />}
    </form>
  );
}

function Answers({ answered }: { answered: Answered }) {
  const t = useText();
  const { columns, rows } = answerTable(answered.predictions);
  if (rows.length === 0) return <p className="hint">{t("predict.none")}</p>;
  return (
    <div className="answers">
      <TableFrame label={t("predict.answers")} isShort>
        <table className="table">
          <caption role="status">{t("predict.answered", { n: format.count(rows.length) })}</caption>
          <thead>
            <tr>
              <th className="number">#</th>
              {columns.map((name) => (
                <th key={name}>{name}</th>
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.slice(0, SHOWN_ROWS).map((row, at) => (
              <tr key={at}>
                <td className="number">{at + 1}</td>
                {row.map((value, column) => (
                  <td key={columns[column]} className={typeof value === "number" ? "number" : "cut"}>
                    {typeof value === "number" ? format.value(value) : format.shown(value ?? undefined)}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </TableFrame>
      {rows.length > SHOWN_ROWS && <p className="hint">{t("predict.more", { n: format.count(rows.length - SHOWN_ROWS) })}</p>}
    </div>
  );
}

interface Prediction {
  prediction?: unknown;
  probabilities?: Record<string, number>;
}

/** The prediction, and for classes how likely the model takes each for. */
function Answer({ prediction }: { prediction: Prediction }) {
  const t = useText();
  const { prediction: value, probabilities } = prediction;
  const classes = Object.entries(probabilities ?? {}).sort(([, a], [, b]) => b - a);
  return (
    <output className="answer">
      <p>
        {t("predict.answer")} <b>{typeof value === "number" && probabilities === undefined ? format.value(value) : format.shown(value)}</b>
      </p>
      {classes.slice(0, 12).map(([label, probability]) => (
        <div key={label} className="probability">
          <span className="cut">{label}</span>
          <progress className="bar" max={1} value={probability} aria-label={label} />
          <span className="number">{format.share(probability)}</span>
        </div>
      ))}
    </output>
  );
}
