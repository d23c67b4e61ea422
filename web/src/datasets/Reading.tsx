/** How a column is read: its type as it was decided, with the notation, and the options that settle it, changed in place. */

import { useId, useState, type ReactNode } from "react";

import type { Problem } from "../api/client";
import * as format from "../language/format";
import { useText } from "../language/language";
import { withOption, type Column, type ColumnOptions, type Columns } from "./columns";

export const TYPES = ["number", "boolean", "category", "text", "date", "time", "duration", "identifier", "list"] as const;
const CLOCKS = ["%M:%S", "%H:%M"];

export interface ReadingProps {
  name: string;
  /** What the server has decided, as far as it is known. */
  decided: string;
  notation: string | null;
  columns: Columns;
  onChange: (columns: Columns | undefined) => void;
}

interface CellProps extends ReadingProps {
  isOpen: boolean;
  onOpen: (isOpen: boolean) => void;
}

/** The type of a column, and a button for the other options. */
export function ReadingCell({ name, decided, notation, columns, onChange, isOpen, onOpen }: CellProps) {
  const t = useText();
  const options = columns[name] ?? {};
  const count = Object.keys(options).filter((option) => option !== "type").length;
  return (
    <div className="reading-cell">
      <select
        className="select-quiet"
        aria-label={t("columns.type_of", { name })}
        value={options.type ?? ""}
        onChange={(event) => onChange(withOption(columns, name, "type", event.target.value === "" ? undefined : event.target.value))}
      >
        <option value="">{t("columns.automatic", { type: decided })}</option>
        {TYPES.map((type) => (
          <option key={type} value={type}>
            {t("columns.read_as", { type })}
          </option>
        ))}
      </select>
      <button type="button" className="button button-quiet" aria-expanded={isOpen} aria-label={t("reading.options_of", { name })} onClick={() => onOpen(!isOpen)}>
        {t("reading.options")}
        {count > 0 && <span className="count">{format.count(count)}</span>}
      </button>
      {notation !== null && <span className="hint notation">{notation}</span>}
    </div>
  );
}

/** The options of a column that its type has. */
export function ReadingFields({ name, decided, columns, onChange, problems }: ReadingProps & { problems: readonly Problem[] }) {
  const t = useText();
  const options = columns[name] ?? {};
  const type = options.type ?? decided;
  const set = (option: keyof ColumnOptions) => (value: unknown) => onChange(withOption(columns, name, option, value));
  const isDate = type === "date" || type === "time";
  return (
    <div className="reading">
      <div className="reading-fields">
        {type === "number" && <Choice label={t("reading.decimal")} help={t("reading.decimal_help")} value={options.decimal} choices={[".", ","]} onChange={set("decimal")} />}
        {type === "duration" && <Choice label={t("reading.format")} help={t("reading.clock_help")} value={options.format} choices={CLOCKS} onChange={set("format")} />}
        {isDate && <Typed label={t("reading.format")} help={t("reading.format_help")} example="%d/%m/%Y" value={options.format} onChange={set("format")} />}
        {isDate && <Typed label={t("reading.timezone")} help={t("reading.timezone_help")} example="Asia/Shanghai" value={options.timezone} onChange={set("timezone")} />}
        {type === "date" && (
          <Typed label={t("reading.last_year")} help={t("reading.last_year_help")} example="2030" value={options.last_year} onChange={(text) => set("last_year")(text === undefined || !/^\d+$/.test(text) ? text : Number(text))} />
        )}
        <Typed
          label={t("reading.missing")}
          help={t("reading.missing_help")}
          example="-, unknown"
          value={options.missing?.join(", ")}
          onChange={(text) => set("missing")(text?.split(",").map((word) => word.trim()).filter((word) => word !== ""))}
        />
      </div>
      {problemsOfColumn(problems, name).map(({ message, hint }) => (
        <p key={message} className="field-problem" role="alert">
          {message} <span className="hint">{hint}</span>
        </p>
      ))}
    </div>
  );
}

/** The problems of one column: they name its options, or it. */
export function problemsOfColumn(problems: readonly Problem[], name: string): Problem[] {
  return problems.filter(({ field, message }) => field === `columns.${name}` || field.startsWith(`columns.${name}.`) || (field === "columns" && message.includes(`'${name}'`)));
}

function Labelled({ label, help, children }: { label: string; help: string; children: (id: string, helpId: string) => ReactNode }) {
  const id = useId();
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      {children(id, `${id}-help`)}
      <p className="hint field-help" id={`${id}-help`}>
        {help}
      </p>
    </div>
  );
}

function Choice({ label, help, value, choices, onChange }: { label: string; help: string; value: string | undefined; choices: readonly string[]; onChange: (value: string | undefined) => void }) {
  const t = useText();
  return (
    <Labelled label={label} help={help}>
      {(id, helpId) => (
        <select id={id} aria-describedby={helpId} value={value ?? ""} onChange={(event) => onChange(event.target.value === "" ? undefined : event.target.value)}>
          <option value="">{t("field.automatic")}</option>
          {choices.map((choice) => (
            <option key={choice}>{choice}</option>
          ))}
        </select>
      )}
    </Labelled>
  );
}

/** A text that is given on as it is typed, and meanwhile stays as it was typed. */
function Typed({ label, help, example, value, onChange }: { label: string; help: string; example: string; value: string | number | undefined; onChange: (value: string | undefined) => void }) {
  const [typed, setTyped] = useState<string | null>(null);
  return (
    <Labelled label={label} help={help}>
      {(id, helpId) => (
        <input
          id={id}
          type="text"
          aria-describedby={helpId}
          placeholder={example}
          value={typed ?? value ?? ""}
          onBlur={() => setTyped(null)}
          onChange={(event) => {
            setTyped(event.target.value);
            onChange(event.target.value.trim() === "" ? undefined : event.target.value.trim());
          }}
        />
      )}
    </Labelled>
  );
}

/** How many values of a column are missing, and how many are distinct. */
export function CountCells({ column }: { column: Column }) {
  return (
    <>
      <td className="number">{column.missing === 0 ? format.MISSING : format.count(column.missing)}</td>
      <td className="number">
        {column.distinct_is_estimate === true ? "≈ " : ""}
        {format.count(column.distinct)}
      </td>
    </>
  );
}
