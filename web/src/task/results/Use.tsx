/** What can be done with the model of a task: try a prediction, take its files, write it in the forms of other programs. */

import { useQuery } from "@tanstack/react-query";
import { useState } from "react";

import { BASE, type Schemas } from "../../api/client";
import { model as modelQuery } from "../../api/queries";
import { CopyBlock } from "../../components/CopyBlock";
import { FileLink } from "../../components/FileLink";
import { ErrorNote, Loading } from "../../components/notices";
import { TableFrame } from "../../components/TableFrame";
import type { Key } from "../../language/catalogue";
import { CATALOGUE } from "../../language/catalogue";
import * as format from "../../language/format";
import { useText } from "../../language/language";
import { PredictForm } from "../../models/PredictForm";

type Model = Schemas["ModelDetail"];

/** The model of a completed task, under the task's id. */
export function Use({ id }: { id: string }) {
  const { data: model, error, refetch } = useQuery(modelQuery(id, "latest"));
  if (model === undefined) return error === null ? <Loading /> : <ErrorNote error={error} onRetry={() => void refetch()} />;
  return (
    <div className="columns">
      <div>
        <Try model={model} />
        <Exports id={id} />
      </div>
      <Downloads id={id} model={model} />
    </div>
  );
}

function Try({ model }: { model: Model }) {
  const t = useText();
  return (
    <section className="step">
      <h2>{t("model.try")}</h2>
      <PredictForm model={model} />
    </section>
  );
}

/** What a file of a model's folder contains; nothing for one that this page does not know. */
function purposeOf(name: string): Key | null {
  const key = `file.${name}`;
  return key in CATALOGUE ? (key as Key) : null;
}

function Downloads({ id, model }: { id: string; model: Model }) {
  const t = useText();
  const place = `api/v1/models/${encodeURIComponent(model.model)}/versions/${model.version}`;
  const hasReport = model.files.some(({ name }) => name === "report.html" || name === "page.json");
  const sum = model.files.reduce((all, { bytes }) => all + bytes, 0);
  return (
    <section className="step downloads">
      <h2>{t("downloads.title")}</h2>
      <div className="controls-row">
        {hasReport && (
          <FileLink className="button" path={`api/v1/epoch-training/tasks/${id}/report`}>
            {t("downloads.report")}
          </FileLink>
        )}
        <FileLink className="button" path={`${place}/download`} name={`${model.version}.zip`}>
          {t("downloads.archive")}
        </FileLink>
      </div>
      {!hasReport && <p className="hint">{t("downloads.no_report")}</p>}
      <TableFrame label={t("model.files")}>
        <table className="table">
          <caption>
            {t("model.files")} <span className="muted">({format.bytes(sum)})</span>
          </caption>
          <tbody>
            {model.files.map(({ name, bytes }) => {
              const purpose = purposeOf(name);
              return (
                <tr key={name}>
                  <th scope="row">
                    <FileLink path={`${place}/files/${encodeURIComponent(name)}`} name={name}>
                      {name}
                    </FileLink>
                  </th>
                  <td className="muted">{purpose === null ? "" : t(purpose)}</td>
                  <td className="number">{format.bytes(bytes)}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </TableFrame>
    </section>
  );
}

const FORMS = ["onnx", "torch", "keras", "savedmodel", "tensorboard", "mlflow"] as const;

/** The command that writes the model in another form, on the machine of whoever runs it. */
function Exports({ id }: { id: string }) {
  const t = useText();
  const [form, setForm] = useState<(typeof FORMS)[number]>("onnx");
  const tracking = form === "mlflow" ? " --tracking-uri sqlite:///mlflow.db" : "";
  const url = `${location.origin}${BASE}`.replace(/\/$/, "");
  return (
    <section className="step">
      <h2>{t("exports.title")}</h2>
      <div className="segments" role="group" aria-label={t("exports.form")}>
        {FORMS.map((one) => (
          <button key={one} type="button" aria-pressed={one === form} onClick={() => setForm(one)}>
            {one}
          </button>
        ))}
      </div>
      <p className="hint export-hint">{t(`exports.${form}`)}</p>
      <CopyBlock label={t("exports.command")} text={`epochd export ${id} --to ${form}${tracking} --url ${url}`} />
      <p className="hint export-hint">{t("exports.where")}</p>
    </section>
  );
}
