/** The columns of a dataset: which one is predicted, which ones are learned from, and how each is read. */

import { Fragment, useState } from "react";

import type { Problem, Schemas } from "../api/client";
import type { Config } from "../api/queries";
import { Notes, Warnings } from "../components/notices";
import { TableFrame } from "../components/TableFrame";
import { columnsOf, valuesOf, type Columns } from "../datasets/columns";
import { CountCells, problemsOfColumn, ReadingCell, ReadingFields } from "../datasets/Reading";
import { useText } from "../language/language";
import type { Schema } from "./fields";
import { problemsOf } from "./FormField";

interface PickerProps {
  dataset: Schemas["DatasetDetail"];
  /** What the check of the config has found; null while there are problems. */
  checked: Schemas["CheckedDatasetShape"] | null;
  config: Config;
  schema: Schema;
  problems: readonly Problem[];
  onChange: (name: string, value: unknown) => void;
}

function names(value: unknown): string[] {
  return Array.isArray(value) ? value.map(String) : [];
}

export function ColumnPicker({ dataset, checked, config, problems, onChange }: PickerProps) {
  const t = useText();
  const [wanted, setWanted] = useState("");
  const [open, setOpen] = useState<string | null>(null);
  const profile = columnsOf(dataset);
  const target = config.target_column;
  const chosen = config.feature_columns === undefined ? null : new Set(names(config.feature_columns));
  const excluded = new Set(names(config.exclude_columns));
  const options = (config.columns ?? {}) as Columns;
  const isFeature = (name: string): boolean => !excluded.has(name) && (chosen === null || chosen.has(name) || (checked?.features.includes(name) ?? false));

  const include = (name: string, included: boolean): void => {
    const rest = [...excluded].filter((one) => one !== name);
    const excludedNow = included ? rest : [...rest, name];
    onChange("exclude_columns", excludedNow.length === 0 ? undefined : excludedNow);
    if (included && chosen !== null && !isFeature(name) && !excluded.has(name)) onChange("feature_columns", [...chosen, name]);
  };
  const leftOut = new Map((checked?.left_out ?? []).map(({ name, reason }) => [name, reason]));
  const atColumns = new Set(profile.flatMap(({ name }) => problemsOfColumn(problems, name)));
  const wrong = ["target_column", "feature_columns", "exclude_columns", "columns"].flatMap((name) => problemsOf(problems, name)).filter((problem) => !atColumns.has(problem));
  const shown = profile.filter(({ name }) => name.toLowerCase().includes(wanted.toLowerCase()));
  return (
    <>
      <div className="toolbar">
        <label className="inline" htmlFor="target">
          {t("columns.target")}
        </label>
        <select id="target" value={typeof target === "string" ? target : ""} onChange={(event) => onChange("target_column", event.target.value)}>
          {profile.every(({ name }) => name !== target) && <option value="">{typeof target === "string" ? target : ""}</option>}
          {profile.map(({ name }) => (
            <option key={name} value={name}>
              {name}
            </option>
          ))}
        </select>
        {profile.length > 12 && <input type="search" className="search" placeholder={t("columns.search")} aria-label={t("columns.search")} value={wanted} onChange={(event) => setWanted(event.target.value)} />}
      </div>
      {wrong.map(({ field, message, hint }) => (
        <p key={`${field}${message}`} className="field-problem">
          <code>{field}</code> {message} <span className="hint">{hint}</span>
        </p>
      ))}
      <TableFrame label={t("start.columns")} isShort>
        <table className="table">
          <thead>
            <tr>
              <th>{t("columns.feature")}</th>
              <th>{t("columns.type")}</th>
              <th className="number">{t("columns.missing")}</th>
              <th className="number">{t("columns.distinct")}</th>
              <th>{t("columns.values")}</th>
            </tr>
          </thead>
          <tbody>
            {shown.map((column) => {
              const decided = checked?.types?.[column.name] ?? column.kind;
              const reading = { name: column.name, decided, notation: column.notation, columns: options, onChange: (all: Columns | undefined) => onChange("columns", all) };
              const found = problemsOfColumn(problems, column.name);
              const isOpen = open === column.name || found.length > 0;
              return (
                <Fragment key={column.name}>
                  <tr data-selected={column.name === target}>
                    <th scope="row">
                      <label className="inline">
                        <input type="checkbox" disabled={column.name === target} checked={column.name !== target && isFeature(column.name)} onChange={(event) => include(column.name, event.target.checked)} />{" "}
                        {column.name}
                        {column.name === target && <span className="count">{t("columns.is_target")}</span>}
                        {leftOut.has(column.name) && (
                          <span className="count" title={leftOut.get(column.name)}>
                            {t("columns.left_out")}
                          </span>
                        )}
                      </label>
                    </th>
                    <td>
                      <ReadingCell {...reading} isOpen={isOpen} onOpen={(wanted) => setOpen(wanted ? column.name : null)} />
                    </td>
                    <CountCells column={column} />
                    <td className="muted cut">{valuesOf(column)}</td>
                  </tr>
                  {isOpen && (
                    <tr>
                      <td colSpan={5}>
                        <ReadingFields {...reading} problems={found} />
                      </td>
                    </tr>
                  )}
                </Fragment>
              );
            })}
          </tbody>
        </table>
      </TableFrame>
      {checked === null && <Warnings warnings={dataset.warnings ?? []} />}
      <Notes notes={dataset.notes} />
    </>
  );
}
