/**
 * A page of the list of tasks that changes as the tasks do. What changes within a task is put in its place; what may
 * change which tasks the page has, and their order, makes it ask for the page again, at most once a second.
 */

import { useQuery, useQueryClient, type UseQueryResult } from "@tanstack/react-query";
import { useEffect } from "react";

import { listen } from "../api/live";
import { tasks, type State, type TaskFilter, type TaskLine, type TaskList } from "../api/queries";

const PAUSE = 1_000;

/**
 * The page with these lines in it, and whether another page may be right now: a task is new, or in another state.
 * `elsewhere` has the states of tasks that are not on the page, as far as they are known; it is brought up to date.
 */
export function updated(page: TaskList, changed: readonly TaskLine[], elsewhere: Map<string, State>): { page: TaskList; isOutdated: boolean } {
  const news = new Map(changed.map((line) => [line.task_id, line]));
  let isOutdated = false;
  const lines = page.tasks.map((line) => {
    const now = news.get(line.task_id);
    news.delete(line.task_id);
    isOutdated ||= now !== undefined && now.state !== line.state;
    return now ?? line;
  });
  for (const [id, { state }] of news) {
    isOutdated ||= elsewhere.get(id) !== state;
    elsewhere.set(id, state);
  }
  return { page: { ...page, tasks: lines }, isOutdated };
}

export function useLiveTasks(filter: TaskFilter): UseQueryResult<TaskList> {
  const queryClient = useQueryClient();
  const options = tasks(filter);
  const key = JSON.stringify(options.queryKey);
  useEffect(() => {
    const queryKey = JSON.parse(key) as readonly ["tasks", TaskFilter];
    const elsewhere = new Map<string, State>();
    let timer: ReturnType<typeof setTimeout> | undefined;
    let asked = 0;
    const ask = (): void => {
      timer ??= setTimeout(
        () => {
          timer = undefined;
          asked = Date.now();
          void queryClient.invalidateQueries({ queryKey: ["tasks"] });
        },
        Math.max(0, asked + PAUSE - Date.now()),
      );
    };
    let wasConnected = false;
    const stop = listen({
      lists: true,
      onEvent: ({ data }) => {
        if (data.type === "removed") ask();
        if (data.type !== "tasks") return;
        const page = queryClient.getQueryData<TaskList>(queryKey);
        if (page === undefined) return;
        const next = updated(page, data.tasks, elsewhere);
        queryClient.setQueryData(queryKey, next.page);
        if (next.isOutdated || queryKey[1].sort.endsWith("epoch")) ask();
      },
      onConnection: (connection) => {
        if (connection === "connected" && wasConnected) ask(); // what has changed meanwhile was not told
        wasConnected ||= connection === "connected";
      },
    });
    return () => {
      stop();
      clearTimeout(timer);
    };
  }, [key, queryClient]);
  return useQuery(options);
}
