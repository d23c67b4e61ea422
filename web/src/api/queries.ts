/** What pages read from the API, each with its key: whoever asks for the same shares the answer. */

import { keepPreviousData, queryOptions } from "@tanstack/react-query";

import { api, data, type Schemas } from "./client";

export type TaskLine = Schemas["TaskLine"];
export type TaskList = Schemas["Tasks"];
export type TaskDetail = Schemas["TaskDetail"];
export type State = Schemas["State"];
export type Config = Record<string, unknown>;
export type Sort = NonNullable<NonNullable<import("./schema").operations["list_trainings"]["parameters"]["query"]>["sort"]>;

export interface TaskFilter {
  state?: State | undefined;
  name?: string | undefined;
  dataset?: string | undefined;
  sort: Sort;
  limit: number;
  offset: number;
}

const FINAL = new Set<State>(["completed", "failed", "cancelled"]);

export const isFinal = (state: State): boolean => FINAL.has(state);

/** Drop what is undefined, which a query must not contain. */
function given<T extends object>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined && value !== "")) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}

/** One page of tasks; `useLiveTasks` keeps it as it is on the server. */
export const tasks = (filter: TaskFilter) =>
  queryOptions({
    queryKey: ["tasks", filter],
    queryFn: ({ signal }) =>
      data(api.GET("/api/v1/epoch-training/tasks", { params: { query: given(filter) }, signal })),
    placeholderData: keepPreviousData,
  });

/** How many tasks are compared at most. */
export const MOST_CONFIGURED = 2_000;
const PAGE = 500;

/** All tasks that match, the newest first, each with its config. */
export const configuredTasks = (filter: Pick<TaskFilter, "state" | "name">) =>
  queryOptions({
    queryKey: ["tasks", "configured", filter],
    queryFn: async ({ signal }) => {
      const found: TaskLine[] = [];
      for (;;) {
        const query = { ...given(filter), config: true, limit: PAGE, offset: found.length };
        const page = await data(api.GET("/api/v1/epoch-training/tasks", { params: { query }, signal }));
        found.push(...page.tasks);
        if (page.tasks.length < PAGE || found.length >= MOST_CONFIGURED) return { tasks: found, total: page.total };
      }
    },
    placeholderData: keepPreviousData,
    staleTime: 15_000,
  });

export const task = (id: string) =>
  queryOptions({
    queryKey: ["task", id],
    queryFn: ({ signal }) =>
      data(api.GET("/api/v1/epoch-training/tasks/{task_id}", { params: { path: { task_id: id } }, signal })),
  });

/** The curves of some epochs, in so many rows at most. */
export const curvesPart = (id: string, first: number, last: number, points: number) =>
  queryOptions({
    queryKey: ["curves", id, first, last, points],
    queryFn: ({ signal }) =>
      data(
        api.GET("/api/v1/epoch-training/curves/{task_id}", {
          params: { path: { task_id: id }, query: { first, last, points } },
          signal,
        }),
      ),
    placeholderData: keepPreviousData,
    staleTime: 10_000,
  });

/** The values of the figures of a report, which never change. */
export const reportValues = (id: string) =>
  queryOptions({
    queryKey: ["report", id],
    queryFn: ({ signal }) =>
      data(api.GET("/api/v1/epoch-training/tasks/{task_id}/report/values", { params: { path: { task_id: id } }, signal })),
    staleTime: Infinity,
  });

export const schema = queryOptions({
  queryKey: ["schema"],
  queryFn: ({ signal }) => data(api.GET("/api/v1/epoch-training/schema", { signal })),
  staleTime: Infinity,
});

/** Every problem of a config; the last answer stays visible until the next one is there. */
export const validation = (config: Config) =>
  queryOptions({
    queryKey: ["validate", config],
    queryFn: ({ signal }) =>
      data(api.POST("/api/v1/epoch-training/validate", { body: config as never, signal })),
    placeholderData: keepPreviousData,
    staleTime: 30_000,
  });

export const health = queryOptions({
  queryKey: ["health"],
  queryFn: ({ signal }) => data(api.GET("/health", { signal })),
  refetchInterval: 5_000,
});

/** The first tasks that wait, with their positions. */
export const queue = queryOptions({
  queryKey: ["queue"],
  queryFn: ({ signal }) => data(api.GET("/api/v1/system/queue", { params: { query: { limit: 100 } }, signal })),
  refetchInterval: 2_000,
});

/** The other machines that train for the server. */
export const agents = queryOptions({
  queryKey: ["agents"],
  queryFn: ({ signal }) => data(api.GET("/api/v1/system/agents", { signal })),
  refetchInterval: 5_000,
});

/** Devices, disk and versions, which the server measures at most every 30 seconds. */
export const machine = queryOptions({
  queryKey: ["machine"],
  queryFn: ({ signal }) => data(api.GET("/api/v1/system/machine", { signal })),
  refetchInterval: 30_000,
});

export const reconciliation = queryOptions({
  queryKey: ["reconcile"],
  queryFn: ({ signal }) => data(api.GET("/api/v1/system/reconcile", { signal })),
  refetchInterval: 5_000,
});

export const datasets = queryOptions({
  queryKey: ["datasets"],
  queryFn: ({ signal }) => data(api.GET("/api/v1/datasets", { params: { query: { limit: 500 } }, signal })),
});

export const dataset = (name: string) =>
  queryOptions({
    queryKey: ["dataset", name],
    queryFn: ({ signal }) => data(api.GET("/api/v1/datasets/{name}", { params: { path: { name } }, signal })),
    refetchInterval: ({ state }) => (state.data !== undefined && state.data.state !== "ready" ? 1_000 : false),
  });

/** The newest trainings on a dataset. */
export const tasksOf = (dataset: string) => ({ ...tasks({ dataset, sort: "-created", limit: 20, offset: 0 }) });

/** The models with a version that was trained on a dataset, and the newest of those versions. */
export const modelsOf = (dataset: string) =>
  queryOptions({
    queryKey: ["models", "of", dataset],
    queryFn: ({ signal }) => data(api.GET("/api/v1/models", { params: { query: { dataset, limit: 20 } }, signal })),
  });

export const models = queryOptions({
  queryKey: ["models"],
  queryFn: ({ signal }) => data(api.GET("/api/v1/models", { params: { query: { limit: 500 } }, signal })),
});

export const model = (name: string, version: string) =>
  queryOptions({
    queryKey: ["model", name, version],
    queryFn: ({ signal }) =>
      data(
        api.GET("/api/v1/models/{model}/versions/{version}", { params: { path: { model: name, version } }, signal }),
      ),
  });
