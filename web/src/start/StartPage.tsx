/**
 * A new training: a dataset, a target, a model. The config is the one truth: form, JSON and snippets are views of it,
 * it contains only what is not a default, and the server judges it as it changes.
 */

import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, useNavigate } from "@tanstack/react-router";
import { Tabs } from "radix-ui";
import { useEffect, useState } from "react";

import { api, BASE, data, useSession, type Problem, type Schemas } from "../api/client";
import * as queries from "../api/queries";
import type { Config } from "../api/queries";
import { CopyBlock } from "../components/CopyBlock";
import { ErrorNote, Loading, Warnings } from "../components/notices";
import * as format from "../language/format";
import { useText } from "../language/language";
import { shortest } from "../task/config";
import { ColumnPicker } from "./ColumnPicker";
import { DatasetPicker } from "./DatasetPicker";
import { changed, GROUPS, written, type Group, type Schema } from "./fields";
import { FieldGroup } from "./FormField";
import { snippet, type SnippetKind } from "./snippets";

const route = getRouteApi("/start");
const OPEN_GROUPS: readonly Group[] = ["model", "training"];
const SNIPPETS: readonly SnippetKind[] = ["curl", "python", "cli"];
const PAUSE = 300;
const LIKELY_TARGETS = ["target", "label", "class", "y"];

export function StartPage() {
  const { from, dataset } = route.useSearch();
  const { data: schema, error } = useQuery(queries.schema);
  const original = useQuery({ ...queries.task(from ?? ""), enabled: from !== undefined });
  const failure = (schema === undefined ? error : null) ?? (original.data === undefined ? original.error : null);
  if (failure !== null) return <ErrorNote error={failure} />;
  if (schema === undefined || (from !== undefined && original.data === undefined)) return <Loading lines={10} />;
  const start: Config = original.data === undefined ? (dataset === undefined ? {} : { dataset }) : shortest(original.data.config, schema);
  return <StartForm key={from ?? dataset} initial={start} schema={schema} />;
}

/** The column that is most likely to be predicted: one with a usual name, or else the last one. */
function likelyTarget(columns: readonly { name: string }[]): string | undefined {
  return (columns.find(({ name }) => LIKELY_TARGETS.includes(name.toLowerCase())) ?? columns.at(-1))?.name;
}

function StartForm({ initial, schema }: { initial: Config; schema: Schema }) {
  const t = useText();
  const [config, setConfig] = useState(initial);
  const [view, setView] = useState("form");
  const datasetName = typeof config.dataset === "string" ? config.dataset : undefined;
  const dataset = useQuery({ ...queries.dataset(datasetName ?? ""), enabled: datasetName !== undefined });

  // A dataset that has just been chosen proposes its target.
  const columns = dataset.data?.profile ?? undefined;
  const target = columns === undefined || config.target_column !== undefined ? undefined : likelyTarget(columns);
  if (target !== undefined) setConfig({ ...config, target_column: target });

  const judged = useJudgement(config, dataset.isLoading);
  const set = (name: string, value: unknown): void => setConfig((before) => changed(before, name, value, schema.properties?.[name]?.default));
  const choose = (name: string): void => setConfig((before) => ({ ...withoutColumns(before), dataset: name }));
  const problems = judged.data?.problems ?? [];
  return (
    <>
      <div className="page-head">
        <h1>{t("start.title")}</h1>
      </div>
      <div className="start">
        <Tabs.Root value={view} onValueChange={setView} className="start-form">
          <Tabs.List className="tabs" aria-label={t("start.view")}>
            <Tabs.Trigger value="form" className="tab">
              {t("start.form")}
            </Tabs.Trigger>
            <Tabs.Trigger value="json" className="tab">
              JSON
            </Tabs.Trigger>
          </Tabs.List>
          <Tabs.Content value="form" className="tab-content">
            <section className="step">
              <h2>{t("start.dataset")}</h2>
              <DatasetPicker chosen={datasetName} onChoose={choose} problems={problems} />
            </section>
            {dataset.error !== null && datasetName !== undefined && <ErrorNote error={dataset.error} />}
            {dataset.data !== undefined && (
              <section className="step">
                <h2>{t("start.columns")}</h2>
                <ColumnPicker dataset={dataset.data} checked={judged.data?.dataset ?? null} config={config} schema={schema} problems={problems} onChange={set} />
              </section>
            )}
            {(Object.keys(GROUPS) as Group[]).map((group) => (
              <FieldGroup key={group} group={group} isOpen={OPEN_GROUPS.includes(group)} config={config} schema={schema} problems={problems} judged={judged.data?.config ?? null} onChange={set} />
            ))}
          </Tabs.Content>
          <Tabs.Content value="json" className="tab-content">
            <JsonView config={config} onChange={setConfig} />
          </Tabs.Content>
        </Tabs.Root>
        <Verdict config={config} schema={schema} judgement={judged.data} error={judged.error} isChecking={judged.isFetching} onName={(name) => set("name", name)} />
      </div>
    </>
  );
}

/** Another dataset has other columns: what names the old ones goes. */
function withoutColumns(config: Config): Config {
  const about = ["target_column", "feature_columns", "exclude_columns", "columns", "weight_column", "time_column", "group_column", "input_shape"];
  return Object.fromEntries(Object.entries(config).filter(([name]) => !about.includes(name)));
}

/** What the server says of the config, once nothing has been typed for a moment. */
function useJudgement(config: Config, isLoading: boolean) {
  const [settled, setSettled] = useState(config);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(config), PAUSE);
    return () => clearTimeout(timer);
  }, [config]);
  return useQuery({ ...queries.validation(settled), enabled: settled === config && config.dataset !== undefined && !isLoading });
}

function JsonView({ config, onChange }: { config: Config; onChange: (config: Config) => void }) {
  const t = useText();
  const [typed, setTyped] = useState(() => JSON.stringify(config, null, 2));
  const [problem, setProblem] = useState<string | null>(null);
  const change = (text: string): void => {
    setTyped(text);
    try {
      const value = JSON.parse(text) as unknown;
      if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Error(t("start.json_object"));
      setProblem(null);
      onChange(value as Config);
    } catch (error) {
      setProblem(error instanceof Error ? error.message : String(error));
    }
  };
  return (
    <>
      <label htmlFor="json">{t("start.json")}</label>
      <textarea id="json" className="json" spellCheck={false} value={typed} aria-invalid={problem !== null} aria-describedby="json-problem" onChange={(event) => change(event.target.value)} />
      <p id="json-problem" className="field-problem" role="alert">
        {problem}
      </p>
    </>
  );
}

interface VerdictProps {
  config: Config;
  schema: Schema;
  judgement: Schemas["Validated"] | undefined;
  error: Error | null;
  isChecking: boolean;
  onName: (name: string | undefined) => void;
}

/** What would be trained, what is wrong with it, and the button that starts it. */
function Verdict({ config, schema, judgement, error, isChecking, onName }: VerdictProps) {
  const t = useText();
  const navigate = useNavigate();
  const queryClient = useQueryClient();
  const [kind, setKind] = useState<SnippetKind>("curl");
  const { isTokenRequired } = useSession();
  const start = useMutation({
    mutationFn: () => data(api.POST("/api/v1/epoch-training/start", { body: config as never })),
    onSuccess: async ({ task_id }) => {
      void queryClient.invalidateQueries({ queryKey: ["tasks"] });
      await navigate({ to: "/tasks/$id", params: { id: task_id } });
    },
  });
  const dataset = judgement?.dataset;
  const isReady = judgement?.valid === true && config.dataset !== undefined;
  const url = `${location.origin}${BASE}`.replace(/\/$/, "");
  return (
    <aside className="verdict" aria-label={t("start.verdict")}>
      <label htmlFor="name">{t("start.name")}</label>
      <input
        id="name"
        type="text"
        value={typeof config.name === "string" ? config.name : ""}
        placeholder={written(schema.properties?.name?.default)}
        onChange={(event) => onName(event.target.value === "" ? undefined : event.target.value)}
      />
      <button type="button" className="button button-primary button-wide" disabled={!isReady || start.isPending} onClick={() => start.mutate()}>
        {t("start.start")}
      </button>
      <p className="hint" role="status">
        {config.dataset === undefined
          ? t("start.no_dataset")
          : isChecking || judgement === undefined
            ? t("start.checking")
            : judgement.valid
              ? t("start.ready")
              : t("start.problems", { n: judgement.problems.length })}
      </p>
      <ErrorNote error={start.error ?? error} />
      {judgement !== undefined && <ProblemList problems={judgement.problems} />}
      {dataset && (
        <dl className="facts">
          <dt>{t("start.rows")}</dt>
          <dd>{format.count(dataset.rows)}</dd>
          <dt>{t("start.features")}</dt>
          <dd>{format.count(dataset.features.length)}</dd>
          <dt>{t("start.task")}</dt>
          <dd>{dataset.task === null ? format.MISSING : t(`kind.${dataset.task}`)}</dd>
          {dataset.classes !== null && (
            <>
              <dt>{t("start.classes")}</dt>
              <dd>{dataset.classes.length > 12 ? format.count(dataset.classes.length) : dataset.classes.map(String).join(", ")}</dd>
            </>
          )}
          {typeof judgement.config?.framework === "string" && (
            <>
              <dt>{t("tasks.engine")}</dt>
              <dd>{judgement.config.framework}</dd>
            </>
          )}
        </dl>
      )}
      {dataset && dataset.left_out.length > 0 && <Warnings warnings={dataset.left_out.map(({ name, reason }) => `${name}: ${reason}`)} />}
      {judgement !== undefined && <Warnings warnings={judgement.warnings} />}
      <Tabs.Root value={kind} onValueChange={(chosen) => setKind(chosen as SnippetKind)}>
        <Tabs.List className="tabs tabs-small" aria-label={t("start.elsewhere")}>
          {SNIPPETS.map((one) => (
            <Tabs.Trigger key={one} value={one} className="tab">
              {t(`snippet.${one}`)}
            </Tabs.Trigger>
          ))}
        </Tabs.List>
        <Tabs.Content value={kind}>
          <CopyBlock label={t("start.elsewhere")} text={snippet(kind, config, url, isTokenRequired)} />
        </Tabs.Content>
      </Tabs.Root>
    </aside>
  );
}

function ProblemList({ problems }: { problems: readonly Problem[] }) {
  if (problems.length === 0) return null;
  return (
    <ul className="problems note note-error">
      {problems.map(({ field, message, hint }) => (
        <li key={`${field}${message}`}>
          <code>{field}</code> {message} {hint !== "" && <span className="hint">{hint}</span>}
        </li>
      ))}
    </ul>
  );
}
