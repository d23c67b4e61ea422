/** What people do with tasks, one or many: each task is asked for by its id, and each refusal is kept. */

import { useMutation, useQueryClient } from "@tanstack/react-query";

import { api, data, type ApiError } from "../api/client";
import { model, task, type State } from "../api/queries";
import type { QueryClient } from "@tanstack/react-query";

export type Action = "pause" | "resume" | "stop" | "remove";

const ALLOWED: Record<Action, readonly State[]> = {
  pause: ["pending", "running"],
  resume: ["paused"],
  stop: ["pending", "running", "paused"],
  remove: ["completed", "failed", "cancelled"],
};

export const isAllowed = (action: Action, state: State): boolean => ALLOWED[action].includes(state);

function request(action: Action, task_id: string): Promise<unknown> {
  const path = { params: { path: { task_id } } };
  switch (action) {
    case "pause":
      return data(api.POST("/api/v1/epoch-training/pause/{task_id}", path));
    case "resume":
      return data(api.POST("/api/v1/epoch-training/resume/{task_id}", path as never));
    case "stop":
      return data(api.POST("/api/v1/epoch-training/stop/{task_id}", path));
    case "remove":
      return data(api.DELETE("/api/v1/epoch-training/tasks/{task_id}", path));
  }
}

export interface Refusal {
  id: string;
  error: ApiError;
}

/** Do the same with each of these tasks; the result are the refusals. */
export function useActions() {
  const queryClient = useQueryClient();
  return useMutation({
    mutationFn: async ({ action, ids }: { action: Action; ids: readonly string[] }): Promise<Refusal[]> => {
      const results = await Promise.allSettled(ids.map((id) => request(action, id)));
      return results.flatMap((result, at) =>
        result.status === "rejected" ? [{ id: ids[at] ?? "", error: result.reason as ApiError }] : [],
      );
    },
    onSettled: () => Promise.all([queryClient.invalidateQueries({ queryKey: ["tasks"] }), queryClient.invalidateQueries({ queryKey: ["task"] })]),
  });
}

export interface Freed {
  checkpointBytes: number;
  modelBytes: number;
  models: number;
  /** Tasks that are not finished, which cannot be removed. */
  unfinished: number;
}

const ASKED_AT_MOST = 50;

/** What the removal of tasks would free on the server's disk, of the first fifty. */
export async function freedBy(queryClient: QueryClient, ids: readonly string[]): Promise<Freed> {
  const found: Freed = { checkpointBytes: 0, modelBytes: 0, models: 0, unfinished: 0 };
  for (const id of ids.slice(0, ASKED_AT_MOST)) {
    const detail = await queryClient.query(task(id));
    if (!isAllowed("remove", detail.state)) {
      found.unfinished += 1;
      continue;
    }
    found.checkpointBytes += detail.checkpoint?.bytes ?? 0;
    if (detail.artifact === null) continue;
    found.models += 1;
    const saved = await queryClient.query(model(id, id)).catch(() => null);
    found.modelBytes += (saved?.files ?? []).reduce((sum, file) => sum + file.bytes, 0);
  }
  return found;
}
