/** The output of a task's workers, which follows as it is written; only the visible lines exist in the page. */

import { useVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useRef, useState, useSyncExternalStore } from "react";

import { BASE, headers } from "../api/client";
import { follow, gathered, type Connection } from "../api/stream";
import { useText } from "../language/language";
import type { Note } from "./curves";

interface Line {
  attempt: number;
  line: string;
}

const LINE_HEIGHT = 19;
const TAIL = 2_000;
const KEPT = 20_000;

function subscribe(listener: () => void): () => void {
  document.addEventListener("visibilitychange", listener);
  return () => document.removeEventListener("visibilitychange", listener);
}

/** Whether the tab of the browser is the one that is shown. */
const useIsVisible = (): boolean => useSyncExternalStore(subscribe, () => document.visibilityState === "visible");

export function LogTab({ id, notes }: { id: string; notes: readonly Note[] }) {
  const t = useText();
  const [lines, setLines] = useState<readonly Line[]>([]);
  const [connection, setConnection] = useState<Connection>("connecting");
  const [isFollowing, setIsFollowing] = useState(true);
  const frame = useRef<HTMLDivElement>(null);
  const cursor = useRef<string | null>(null);
  const isVisible = useIsVisible();
  useEffect(() => {
    if (!isVisible) return; // a browser has few connections, and nobody looks
    const lines = gathered<Line>((added) => setLines((before) => [...before, ...added].slice(-KEPT)));
    const stop = follow<Line>({
      request: (last) => ({
        url: `${BASE}api/v1/epoch-training/logs/${encodeURIComponent(id)}?follow=true&tail=${String(TAIL)}`,
        headers: { ...headers(), ...(last === null ? {} : { "Last-Event-ID": last }) },
      }),
      after: cursor.current,
      onEvent: (event) => {
        cursor.current = event.id ?? cursor.current;
        lines.add(event.data);
      },
      onConnection: setConnection,
      isFinite: true,
    });
    return () => {
      stop();
      lines.flush();
    };
  }, [id, isVisible]);
  const rows = useVirtualizer({
    count: lines.length,
    getScrollElement: () => frame.current,
    estimateSize: () => LINE_HEIGHT,
    overscan: 20,
  });
  useEffect(() => {
    if (isFollowing && lines.length > 0) rows.scrollToIndex(lines.length - 1);
  }, [isFollowing, lines.length, rows]);
  return (
    <>
      {notes.length > 0 && (
        <section className="notes">
          <h3>{t("log.notes")}</h3>
          <ul>
            {notes.map(({ level, message }, at) => (
              <li key={at} data-level={level}>
                {message}
              </li>
            ))}
          </ul>
        </section>
      )}
      <div className="toolbar">
        <h3>{t("log.output")}</h3>
        <label className="inline">
          <input type="checkbox" checked={isFollowing} onChange={(event) => setIsFollowing(event.target.checked)} /> {t("log.follow")}
        </label>
        {connection === "disconnected" && <span className="hint">{t("stream.disconnected")}</span>}
      </div>
      {lines.length === 0 ? (
        <p className="hint">{t("log.empty")}</p>
      ) : (
        <div ref={frame} className="log" tabIndex={0} role="log" aria-label={t("log.output")}>
          <div className="log-space" style={{ height: rows.getTotalSize() }}>
            {rows.getVirtualItems().map(({ index, start, key }) => (
              <div key={key} className="log-line" style={{ transform: `translateY(${String(start)}px)` }}>
                {lines[index]?.line}
              </div>
            ))}
          </div>
        </div>
      )}
    </>
  );
}
