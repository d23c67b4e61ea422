/** A training as its page shows it: its curves, which follow its stream, and its details, asked for when its state changes. */

import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useReducer, useState } from "react";

import { api, data, type ApiError } from "../api/client";
import { task, type TaskDetail } from "../api/queries";
import { follow, type Connection, type Received } from "../api/stream";
import { applied, EMPTY, filled, hasHoles, type Curves, type Event, type Row } from "./curves";

type Change = { kind: "events"; events: Received<Event>[] } | { kind: "history"; rows: readonly Row[] };

const LAST = new Set<Event["type"]>(["complete", "failed", "cancelled"]);
const HOLE_SECONDS = 2;

function reduce(curves: Curves, change: Change): Curves {
  return change.kind === "events" ? applied(curves, change.events) : filled(curves, change.rows);
}

export interface Training {
  curves: Curves;
  detail: TaskDetail | undefined;
  error: Error | null;
  connection: Connection;
  /** Why the stream does not continue. */
  streamError: ApiError | null;
}

/** Of one task: a page that shows another one makes another one. */
export function useTraining(id: string): Training {
  const queryClient = useQueryClient();
  const [curves, dispatch] = useReducer(reduce, EMPTY);
  const [connection, setConnection] = useState<Connection>("connecting");
  const [streamError, setStreamError] = useState<ApiError | null>(null);
  const { data: detail, error } = useQuery(task(id));

  useEffect(
    () =>
      follow<Event>({
        path: `api/v1/epoch-training/stream-progress/${encodeURIComponent(id)}`,
        onEvents: (events) => dispatch({ kind: "events", events }),
        onConnection: (now, reason) => {
          setConnection(now);
          setStreamError(reason);
        },
        isLast: (event) => LAST.has(event.type),
      }),
    [id],
  );
  const { changes } = curves;
  useEffect(() => {
    if (changes > 0) void queryClient.invalidateQueries({ queryKey: ["task", id] });
  }, [changes, id, queryClient]);
  const isIncomplete = hasHoles(curves);
  useEffect(() => {
    if (!isIncomplete) return;
    const timer = setTimeout(() => {
      const path = { params: { path: { task_id: id } } };
      void data(api.GET("/api/v1/epoch-training/history/{task_id}", path)).then(({ history }) =>
        dispatch({ kind: "history", rows: history as unknown as Row[] }),
      );
    }, HOLE_SECONDS * 1000);
    return () => clearTimeout(timer);
  }, [isIncomplete, id]);
  return { curves, detail, error, connection, streamError };
}
