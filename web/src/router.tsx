/**
 * The pages and their addresses. What a page shows is part of its address, so that it survives a reload and can be
 * sent to somebody. Each page is a file of its own that is loaded when it is visited.
 */

import {
  createRootRoute,
  createRoute,
  createRouter,
  lazyRouteComponent,
  redirect,
  type ErrorComponentProps,
} from "@tanstack/react-router";

import { BASE } from "./api/client";
import type { Sort, State } from "./api/queries";
import { ErrorNote, Loading, Missing } from "./components/notices";
import { Shell } from "./shell/Shell";

type Search = Record<string, unknown>;

/** What a page changes of its address; `undefined` removes a part. */
export type Changes<T> = { [K in keyof T]?: T[K] | undefined };

const SORTS: readonly Sort[] = [
  "created", "-created", "name", "-name", "state", "-state", "epoch", "-epoch", "finished", "-finished",
];
export const STATES: readonly State[] = ["pending", "running", "paused", "completed", "failed", "cancelled"];

/** The parts of the rows that a model is scored on. */
export const SIDES = ["validation", "test", "train"] as const;
export type Side = (typeof SIDES)[number];

export const TASK_TABS = ["curves", "results", "config", "log"] as const;
export type TaskTab = (typeof TASK_TABS)[number];

function text(search: Search, name: string): string | undefined {
  const given = search[name];
  return typeof given === "string" || typeof given === "number" ? String(given) : undefined;
}

function oneOf<T extends string>(search: Search, name: string, values: readonly T[]): T | undefined {
  return values.find((value) => value === search[name]);
}

function range(given: unknown): [number, number] | undefined {
  return Array.isArray(given) && given.length === 2 && given.every((one) => typeof one === "number" && Number.isFinite(one))
    ? [given[0] as number, given[1] as number]
    : undefined;
}

/** Without what has its default, so that addresses stay short. */
function given<T extends object>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}

const root = createRootRoute({ component: Shell, notFoundComponent: Missing });

const home = createRoute({
  getParentRoute: () => root,
  path: "/",
  beforeLoad: () => redirect({ to: "/tasks", throw: true }),
});

const tasks = createRoute({
  getParentRoute: () => root,
  path: "/tasks",
  validateSearch: (search: Search) =>
    given({
      state: oneOf(search, "state", STATES),
      name: text(search, "name"),
      sort: oneOf(search, "sort", SORTS),
      page: Number(search.page) > 1 ? Math.floor(Number(search.page)) : undefined,
    }),
  component: lazyRouteComponent(() => import("./tasks/TasksPage"), "TasksPage"),
});

const task = createRoute({
  getParentRoute: () => root,
  path: "/tasks/$id",
  validateSearch: (search: Search) =>
    given({
      tab: oneOf(search, "tab", TASK_TABS),
      log: search.log === true ? true : undefined,
      smooth: Number(search.smooth) > 0 && Number(search.smooth) < 1 ? Number(search.smooth) : undefined,
      zoom: range(search.zoom),
      part: oneOf(search, "part", SIDES),
      threshold: Number(search.threshold) >= 0 && Number(search.threshold) <= 1 ? Number(search.threshold) : undefined,
    }),
  component: lazyRouteComponent(() => import("./task/TaskPage"), "TaskPage"),
});

const start = createRoute({
  getParentRoute: () => root,
  path: "/start",
  validateSearch: (search: Search) => given({ from: text(search, "from"), dataset: text(search, "dataset") }),
  component: lazyRouteComponent(() => import("./start/StartPage"), "StartPage"),
});

const compare = createRoute({
  getParentRoute: () => root,
  path: "/compare",
  validateSearch: (search: Search) =>
    given({
      ids: Array.isArray(search.ids) ? search.ids.map(String) : undefined,
      places: Array.isArray(search.places) && search.places.every((place) => Number.isInteger(place) && place > 0) ? (search.places as number[]) : undefined,
      all: search.all === true ? true : undefined,
      name: text(search, "name"),
      state: oneOf(search, "state", STATES),
      metric: text(search, "metric"),
      by: oneOf(search, "by", ["epoch", "step", "time"] as const),
      log: search.log === true ? true : undefined,
      zoom: range(search.zoom),
    }),
  component: lazyRouteComponent(() => import("./compare/ComparePage"), "ComparePage"),
});

const models = createRoute({ getParentRoute: () => root, path: "/models" });

const modelList = createRoute({
  getParentRoute: () => models,
  path: "/",
  component: lazyRouteComponent(() => import("./models/ModelsPage"), "ModelsPage"),
});

const model = createRoute({
  getParentRoute: () => models,
  path: "$", // the names of models may contain slashes
  validateSearch: (search: Search) => given({ version: text(search, "version") }),
  component: lazyRouteComponent(() => import("./models/ModelPage"), "ModelPage"),
});

const datasets = createRoute({
  getParentRoute: () => root,
  path: "/datasets",
  component: lazyRouteComponent(() => import("./datasets/DatasetsPage"), "DatasetsPage"),
});

const dataset = createRoute({
  getParentRoute: () => root,
  path: "/datasets/$name",
  component: lazyRouteComponent(() => import("./datasets/DatasetPage"), "DatasetPage"),
});

const system = createRoute({
  getParentRoute: () => root,
  path: "/system",
  component: lazyRouteComponent(() => import("./system/SystemPage"), "SystemPage"),
});

const routeTree = root.addChildren([home, tasks, task, start, compare, models.addChildren([modelList, model]), datasets, dataset, system]);

function PageError({ error }: ErrorComponentProps) {
  return <ErrorNote error={error} />;
}

export function createAppRouter() {
  return createRouter({
    routeTree,
    basepath: BASE,
    defaultPreload: "intent",
    defaultErrorComponent: PageError,
    // The frame is there at once, and not only when the page's own file has come.
    defaultPendingComponent: Loading,
    defaultPendingMs: 20,
    defaultPendingMinMs: 0,
  });
}

declare module "@tanstack/react-router" {
  interface Register {
    router: ReturnType<typeof createAppRouter>;
  }
}
