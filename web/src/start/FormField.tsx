/** The fields of one group of options, each with its help, its default and the problems that the server has with it. */

import { useState } from "react";

import type { Problem } from "../api/client";
import type { Config } from "../api/queries";
import { useText } from "../language/language";
import { applies, fieldOf, GROUPS, read, written, type Field, type Group, type Schema } from "./fields";

interface GroupProps {
  group: Group;
  isOpen: boolean;
  config: Config;
  schema: Schema;
  problems: readonly Problem[];
  /** The config with what the server has decided. */
  judged: Config | null;
  onChange: (name: string, value: unknown) => void;
}

/** The problems of an option, and of what is inside it. */
export function problemsOf(problems: readonly Problem[], name: string): Problem[] {
  return problems.filter(({ field }) => field === name || field.startsWith(`${name}.`));
}

export function FieldGroup({ group, isOpen, config, schema, problems, judged, onChange }: GroupProps) {
  const t = useText();
  const names = GROUPS[group].filter((name) => schema.properties?.[name] !== undefined && (applies(name, config, schema) || name in config));
  const changes = names.filter((name) => name in config).length;
  const wrong = names.some((name) => problemsOf(problems, name).length > 0);
  return (
    <details className="step" open={isOpen || wrong || undefined}>
      <summary>
        <h2>{t(`group.${group}`)}</h2>
        {changes > 0 && <span className="count">{t("group.changed", { n: changes })}</span>}
      </summary>
      <div className="fields">
        {names.map((name) => {
          const property = schema.properties?.[name];
          if (property === undefined) return null;
          return (
            <FormField key={name} field={fieldOf(name, property)} value={config[name]} judged={judged?.[name]} problems={problemsOf(problems, name)} onChange={(value) => onChange(name, value)} />
          );
        })}
      </div>
    </details>
  );
}

interface FieldProps {
  field: Field;
  value: unknown;
  judged: unknown;
  problems: readonly Problem[];
  onChange: (value: unknown) => void;
}

export function FormField({ field, value, judged, problems, onChange }: FieldProps) {
  const t = useText();
  const id = `field-${field.name}`;
  const isChanged = value !== undefined;
  return (
    <div className="field" data-changed={isChanged} data-wrong={problems.length > 0}>
      <div className="field-head">
        <label htmlFor={id}>
          <code>{field.name}</code>
        </label>
        {isChanged && (
          <button type="button" className="button button-quiet" onClick={() => onChange(undefined)} aria-label={t("field.reset", { name: field.name })}>
            ↺
          </button>
        )}
      </div>
      <Control id={id} field={field} value={value} judged={judged} isWrong={problems.length > 0} onChange={onChange} />
      {problems.map(({ message, hint }) => (
        <p key={message} id={`${id}-problem`} className="field-problem">
          {message}
          {hint !== "" && hint !== field.help && <span className="hint"> {hint}</span>}
        </p>
      ))}
      <p className="hint field-help" id={`${id}-help`}>
        {field.help}
      </p>
    </div>
  );
}

interface ControlProps {
  id: string;
  field: Field;
  value: unknown;
  judged: unknown;
  isWrong: boolean;
  onChange: (value: unknown) => void;
}

function Control({ id, field, value, judged, isWrong, onChange }: ControlProps) {
  const t = useText();
  const [typed, setTyped] = useState<string | null>(null);
  const described = { "aria-invalid": isWrong, "aria-describedby": isWrong ? `${id}-problem ${id}-help` : `${id}-help` };
  const shown = value === undefined ? field.preset : value;
  if (field.kind === "switch") {
    return <input id={id} type="checkbox" role="switch" checked={shown === true} onChange={(event) => onChange(event.target.checked)} {...described} />;
  }
  if (field.kind === "choice") {
    return (
      <select id={id} value={written(shown)} onChange={(event) => onChange(read(field, event.target.value))} {...described}>
        {field.isOptional && <option value="">{t("field.automatic")}</option>}
        {field.choices.map((choice) => (
          <option key={choice} value={choice}>
            {choice}
          </option>
        ))}
      </select>
    );
  }
  const isNumber = field.kind === "integer" || field.kind === "number";
  // While it has the focus, it shows what was typed: "0." is not replaced by "0".
  return (
    <input
      id={id}
      type="text"
      inputMode={isNumber ? "decimal" : "text"}
      value={typed ?? written(shown)}
      placeholder={judged === undefined || judged === null ? t("field.automatic") : written(judged)}
      onFocus={() => setTyped(written(shown))}
      onBlur={() => setTyped(null)}
      onChange={(event) => {
        setTyped(event.target.value);
        onChange(read(field, event.target.value));
      }}
      {...described}
    />
  );
}
