/** The start form's fields, generated from the JSON Schema of a config: kinds, groups, and which apply together. */

import type { Config } from "../api/queries";

export interface Property {
  type?: string;
  const?: unknown;
  enum?: readonly unknown[];
  anyOf?: readonly Property[];
  items?: Property;
  default?: unknown;
  description?: string;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
}

export interface Schema {
  properties?: Record<string, Property>;
  required?: readonly string[];
}

export type FieldKind = "choice" | "switch" | "integer" | "number" | "text" | "list" | "json";

export interface Field {
  name: string;
  kind: FieldKind;
  choices: readonly string[];
  /** Whether it can be left to the server. */
  isOptional: boolean;
  preset: unknown;
  help: string;
  min: number | undefined;
  max: number | undefined;
}

/** What the form asks for, in its order; what is not here has a place of its own or is set in the JSON. */
export const GROUPS = {
  model: ["model_type", "framework", "hidden_units", "activation", "dropout_rate", "kernel_size", "bidirectional", "input_shape"],
  training: ["epochs", "batch_size", "learning_rate", "optimizer", "early_stopping_patience", "min_delta", "monitor", "seed", "ensemble"],
  schedule: ["learning_rate_scheduler", "step_size", "gamma", "patience", "factor", "T_max", "eta_min"],
  rows: ["split", "validation_split", "test_split", "folds", "time_column", "group_column", "weight_column", "sequence_length", "horizon", "scaling"],
  more: [
    "task", "class_weight", "label_smoothing", "decision_threshold", "target_transform", "weight_decay", "gradient_clip",
    "max_rollbacks", "mixed_precision", "device", "num_gpus", "num_nodes", "output_path",
  ],
} as const;

export type Group = keyof typeof GROUPS;

/** Options that only mean something beside these values of another one. */
const BESIDE: Record<string, readonly [string, ...unknown[]]> = {
  activation: ["model_type", "mlp", "cnn"],
  kernel_size: ["model_type", "cnn"],
  bidirectional: ["model_type", "lstm", "gru"],
  input_shape: ["model_type", "cnn", "lstm", "gru"],
  step_size: ["learning_rate_scheduler", "step"],
  gamma: ["learning_rate_scheduler", "step"],
  patience: ["learning_rate_scheduler", "plateau"],
  factor: ["learning_rate_scheduler", "plateau"],
  T_max: ["learning_rate_scheduler", "cosine"],
  eta_min: ["learning_rate_scheduler", "cosine"],
};

export function applies(name: string, config: Config, schema: Schema): boolean {
  const rule = BESIDE[name];
  if (rule === undefined) return true;
  const [other, ...values] = rule;
  return values.includes(config[other] ?? schema.properties?.[other]?.default);
}

export function fieldOf(name: string, property: Property): Field {
  const parts = property.anyOf ?? [property];
  const given = parts.filter((part) => part.type !== "null");
  const choices = given.flatMap((part) => part.enum ?? (part.const === undefined ? [] : [part.const])).map(String);
  const numeric = given.find((part) => part.type === "integer" || part.type === "number");
  return {
    name,
    kind: kindOf(given, choices),
    choices,
    isOptional: given.length < parts.length,
    preset: property.default,
    help: property.description ?? "",
    min: numeric?.minimum ?? numeric?.exclusiveMinimum,
    max: numeric?.maximum ?? numeric?.exclusiveMaximum,
  };
}

function kindOf(given: readonly Property[], choices: readonly string[]): FieldKind {
  const types = new Set(given.map((part) => part.type));
  if (types.size === 1 && types.has("boolean")) return "switch";
  if (types.has("object")) return "json";
  if (choices.length > 0) return types.has("number") || types.has("integer") ? "text" : "choice";
  if (types.has("array")) return "list";
  if (types.size === 1 && types.has("integer")) return "integer";
  if (types.size === 1 && types.has("number")) return "number";
  return "text";
}

/** What a field shows for a value of the config. */
export function written(value: unknown): string {
  if (value === undefined || value === null) return "";
  if (Array.isArray(value)) return value.map((item) => (typeof item === "object" ? JSON.stringify(item) : String(item))).join(", ");
  return typeof value === "string" ? value : JSON.stringify(value);
}

function numberOr(text: string): unknown {
  return text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : text;
}

/** The value of the config for what was typed. What is no number stays text, and the server says what is wrong. */
export function read(field: Field, typed: string): unknown {
  const text = typed.trim();
  if (text === "") return field.isOptional ? null : undefined;
  switch (field.kind) {
    case "integer":
    case "number":
      return numberOr(text);
    case "list":
      return text.split(",").filter((part) => part.trim() !== "").map((part) => numberOr(part.trim()));
    case "json":
      try {
        return JSON.parse(text) as unknown;
      } catch {
        return text;
      }
    case "text":
      return field.choices.length > 0 && !field.choices.includes(text) ? numberOr(text) : text;
    case "choice":
    case "switch":
      return text;
  }
}

/** The config with one option changed; an option with its default is left out. */
export function changed(config: Config, name: string, value: unknown, preset: unknown): Config {
  const rest = Object.fromEntries(Object.entries(config).filter(([key]) => key !== name));
  return value === undefined || JSON.stringify(value) === JSON.stringify(preset) ? rest : { ...rest, [name]: value };
}
