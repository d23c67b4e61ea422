/**
 * Trainings as pages show them: the curves, which follow the live stream, and the details, asked for when the state
 * changes. However many parts of a page show a training, it is followed once.
 */

import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useCallback, useEffect, useMemo, useRef, useSyncExternalStore } from "react";

import { api, data, unreachable, type ApiError } from "../api/client";
import { ApiError as Failed } from "../api/errors";
import type { LiveEvent } from "../api/hub";
import { listen } from "../api/live";
import { isFinal, task, type TaskDetail } from "../api/queries";
import { gathered, type Connection, type Received } from "../api/stream";
import { onLanguage } from "../language/language";
import { applied, EMPTY, loaded, POINTS, type Curves } from "./curves";

const KEPT = 2_000; // milliseconds that a training is followed after nothing shows it, so that a return costs nothing
const AGAIN = 2_000; // until the curves are asked for again if they have holes, or could not be had

export interface Followed {
  curves: Curves;
  connection: Connection;
  /** Why the stream does not continue. */
  streamError: ApiError | null;
}

/** One training, followed while it has listeners. */
class FollowedTraining {
  snapshot: Followed = { curves: EMPTY, connection: "connecting", streamError: null };
  private readonly listeners = new Set<() => void>();
  private stop: (() => void) | null = null;
  private ending: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly id: string) {}

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    clearTimeout(this.ending);
    this.stop ??= this.start();
    return () => {
      this.listeners.delete(listener);
      if (this.listeners.size > 0) return;
      this.ending = setTimeout(() => {
        this.stop?.();
        this.stop = null;
        trainings.delete(this.id);
      }, KEPT);
    };
  };

  private set(change: Partial<Followed>): void {
    this.snapshot = { ...this.snapshot, ...change };
    for (const changed of this.listeners) changed();
  }

  private start(): () => void {
    let isStopped = false;
    let again: ReturnType<typeof setTimeout> | undefined;
    let unlisten: (() => void) | null = null;
    const events = gathered<Received<LiveEvent>>((received) => {
      if (isStopped) return;
      const curves = applied(this.snapshot.curves, received);
      this.set({ curves });
      if (curves.hasHoles) later();
    });
    const follow = (): void => {
      const { curves } = this.snapshot;
      unlisten?.();
      unlisten = null;
      if (curves.state !== null && isFinal(curves.state)) {
        this.set({ connection: "ended", streamError: null });
        return;
      }
      unlisten = listen({
        task: { id: this.id, after: curves.cursor },
        onEvent: events.add,
        onConnection: (connection, streamError) => this.set({ connection, streamError }),
      });
    };
    const load = async (): Promise<void> => {
      try {
        const path = { params: { path: { task_id: this.id }, query: { points: POINTS } } };
        const answer = await data(api.GET("/api/v1/epoch-training/curves/{task_id}", path));
        if (isStopped) return;
        this.set({ curves: loaded(answer, this.snapshot.curves) });
        follow();
      } catch (cause) {
        if (isStopped) return;
        const error = cause instanceof Failed ? cause : unreachable(cause);
        this.set({ connection: "disconnected", streamError: error });
        if (error.status === 0 || error.status >= 500 || error.status === 401) later();
      }
    };
    const later = (): void => {
      clearTimeout(again);
      again = setTimeout(() => void load(), AGAIN);
    };
    const unspoken = onLanguage(() => void load()); // the server's sentences have a language too
    void load();
    return () => {
      isStopped = true;
      clearTimeout(again);
      events.flush();
      unlisten?.();
      unspoken();
    };
  }
}

const trainings = new Map<string, FollowedTraining>();

function followed(id: string): FollowedTraining {
  const known = trainings.get(id);
  if (known !== undefined) return known;
  const made = new FollowedTraining(id);
  trainings.set(id, made);
  return made;
}

export interface Training extends Followed {
  detail: TaskDetail | undefined;
  error: Error | null;
}

/** One training, with its details. */
export function useTraining(id: string): Training {
  const queryClient = useQueryClient();
  const training = useMemo(() => followed(id), [id]);
  const snapshot = useSyncExternalStore(training.subscribe, () => training.snapshot);
  const { data: detail, error } = useQuery(task(id));
  const { changes } = snapshot.curves;
  useEffect(() => {
    if (changes > 0) void queryClient.invalidateQueries({ queryKey: ["task", id] });
  }, [changes, id, queryClient]);
  return { ...snapshot, detail, error };
}

/** The curves of several trainings, each under its id. */
export function useCurves(ids: readonly string[]): ReadonlyMap<string, Curves> {
  const key = ids.join(" ");
  const chosen = useMemo(() => (key === "" ? [] : key.split(" ")).map((id) => [id, followed(id)] as const), [key]);
  const last = useRef<ReadonlyMap<string, Curves>>(new Map());
  const subscribe = useCallback(
    (listener: () => void) => {
      const ends = chosen.map(([, training]) => training.subscribe(listener));
      return () => {
        for (const end of ends) end();
      };
    },
    [chosen],
  );
  return useSyncExternalStore(subscribe, () => {
    const before = last.current;
    const isSame = before.size === chosen.length && chosen.every(([id, { snapshot }]) => before.get(id) === snapshot.curves);
    if (!isSame) last.current = new Map(chosen.map(([id, { snapshot }]) => [id, snapshot.curves]));
    return last.current;
  });
}
