/** The dataset of a training: one that the server has, or a file that is dropped here. */

import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useId, useState, type DragEvent } from "react";

import { upload, type ApiError, type Problem } from "../api/client";
import { datasets } from "../api/queries";
import { Bar, ErrorNote, Loading } from "../components/notices";
import * as format from "../language/format";
import { useText } from "../language/language";
import { problemsOf } from "./FormField";

interface PickerProps {
  chosen: string | undefined;
  onChoose: (name: string) => void;
  problems: readonly Problem[];
}

export function DatasetPicker({ chosen, onChoose, problems }: PickerProps) {
  const t = useText();
  const { data, error } = useQuery(datasets);
  if (data === undefined) return error === null ? <Loading lines={3} /> : <ErrorNote error={error} />;
  const isOther = chosen !== undefined && data.datasets.every(({ name }) => name !== chosen);
  return (
    <>
      <div className="cards" role="radiogroup" aria-label={t("start.dataset")}>
        {data.datasets.map(({ name, kind, rows, columns }) => (
          <label key={name} className="card" data-chosen={name === chosen}>
            <input type="radio" name="dataset" value={name} checked={name === chosen} onChange={() => onChoose(name)} />
            <span className="card-name">{name}</span>
            <span className="hint">
              {t("dataset.size", { rows: format.count(rows), columns: format.count(columns) })} · {t(`dataset.${kind}`)}
            </span>
          </label>
        ))}
        {isOther && (
          <label className="card" data-chosen="true">
            <input type="radio" name="dataset" checked readOnly />
            <span className="card-name">{chosen}</span>
            <span className="hint">{t("dataset.path")}</span>
          </label>
        )}
      </div>
      {problemsOf(problems, "dataset").map(({ message, hint }) => (
        <p key={message} className="field-problem">
          {message} <span className="hint">{hint}</span>
        </p>
      ))}
      <DropZone onAdded={onChoose} />
    </>
  );
}

/** Sends a file to the server; `onAdded` gets the name of its dataset. */
export function DropZone({ onAdded }: { onAdded: (name: string) => void }) {
  const t = useText();
  const id = useId();
  const queryClient = useQueryClient();
  const [share, setShare] = useState<number | null>(null);
  const [isOver, setIsOver] = useState(false);
  const [failure, setFailure] = useState<ApiError | null>(null);
  const send = (file: File | undefined): void => {
    if (file === undefined || share !== null) return;
    setFailure(null);
    setShare(0);
    upload(file, setShare)
      .then(async ({ name }) => {
        await queryClient.invalidateQueries({ queryKey: ["datasets"] });
        onAdded(name);
      })
      .catch((error: unknown) => setFailure(error as ApiError))
      .finally(() => setShare(null));
  };
  const drop = (event: DragEvent): void => {
    event.preventDefault();
    setIsOver(false);
    send(event.dataTransfer.files[0]);
  };
  return (
    <>
      <div
        className="drop"
        data-over={isOver}
        onDragOver={(event) => {
          event.preventDefault();
          setIsOver(true);
        }}
        onDragLeave={() => setIsOver(false)}
        onDrop={drop}
      >
        {share === null ? (
          <>
            <input id={id} type="file" className="visually-hidden" onChange={(event) => send(event.target.files?.[0])} />
            <label htmlFor={id} className="button">
              {t("drop.choose")}
            </label>
            <span>{t("drop.label")}</span>
            <span className="hint">{t("drop.formats")}</span>
          </>
        ) : (
          <>
            <Bar share={share} label={t("drop.sending")} />
            <span role="status">{share < 1 ? t("drop.sent", { share: format.share(share) }) : t("drop.checking")}</span>
          </>
        )}
      </div>
      <ErrorNote error={failure} />
    </>
  );
}
