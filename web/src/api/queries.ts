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
