/** One row to predict, a field for each input of the model, with the example that the model has of it. */

import { useState, type SubmitEvent } from "react";

import type { Schemas } from "../api/client";
import * as format from "../language/format";
import { useText } from "../language/language";

type Model = Schemas["ModelDetail"];
type Input = Model["inputs"][number];

interface FormProps {
  model: Model;
  isBusy: boolean;
  answer: Schemas["PredictionsOf"] | undefined;
  onPredict: (row: Record<string, unknown>) => void;
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

export function PredictForm({ model, isBusy, answer, onPredict }: FormProps) {
  const t = useText();
  const [typed, setTyped] = useState<Record<string, string>>(() => Object.fromEntries(model.inputs.map((input) => [input.name, initialText(input)])));
  const submit = (event: SubmitEvent<HTMLFormElement>): void => {
    event.preventDefault();
    onPredict(Object.fromEntries(model.inputs.map((input) => [input.name, valueOf(input, typed[input.name] ?? "")])));
  };
  if (model.sequence_length !== null) return <p className="hint">{t("predict.windows", { n: model.sequence_length })}</p>;
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
              onChange={(event) => setTyped((before) => ({ ...before, [input.name]: event.target.value }))}
            />
          </div>
        ))}
      </div>
      <button type="submit" className="button button-primary" disabled={isBusy}>
        {t("predict.predict")}
      </button>
      {answer !== undefined && <Answer prediction={(answer.predictions[0] ?? {})} />}
    </form>
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
