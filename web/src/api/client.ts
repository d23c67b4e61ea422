/**
 * The one way to the API: typed by its OpenAPI description, in the language of the page, with the CSRF token of the
 * session, and with every failure as an `ApiError`, whose sentences are the server's.
 */

import createClient from "openapi-fetch";
import { useSyncExternalStore } from "react";

import { currentLanguage } from "../language/language";
import { ApiError, refusal, unreachable } from "./errors";
import type { components, paths } from "./schema";

export { ApiError, unreachable, type Problem } from "./errors";
export type Schemas = components["schemas"];

/** The path that the server's addresses begin with: `/`, or `/epochd/` under a prefix. */
export const BASE = new URL(document.baseURI).pathname;
const CSRF_HEADER = "X-CSRF-Token";
const SAFE_METHODS = ["GET", "HEAD", "OPTIONS"];
const LEFT = "left";

/** The headers of every request. */
export const headers = (): Record<string, string> => ({ "Accept-Language": currentLanguage() });

/** The error that an answer of 400 or above describes. */
export async function errorOf(response: Response): Promise<ApiError> {
  const error = await refusal(response);
  // The session has ended, or another tab has begun a new one.
  if (error.status === 401 || error.code === "csrf_failed") void session.refresh();
  return error;
}

export const api = createClient<paths>({ baseUrl: `${location.origin}${BASE}`.replace(/\/$/, "") });
api.use({
  async onRequest({ request }) {
    for (const [name, value] of Object.entries(headers())) request.headers.set(name, value);
    if (!SAFE_METHODS.includes(request.method)) {
      const csrf = await session.csrfToken();
      if (csrf !== null) request.headers.set(CSRF_HEADER, csrf);
    }
    return request;
  },
  async onResponse({ response }) {
    // 503 of /health is an answer: it says what is wrong with the server.
    if (!response.ok && !(response.status === 503 && response.url.endsWith("/health"))) throw await errorOf(response);
  },
  onError({ error }) {
    if (error instanceof ApiError || (error instanceof DOMException && error.name === "AbortError")) return undefined;
    return unreachable(error);
  },
});

/** The JSON of an answer. */
export async function data<T>(answer: Promise<{ data?: T; error?: unknown }>): Promise<T> {
  const { data: found, error } = await answer;
  if (found === undefined) {
    throw error instanceof Error ? error : new ApiError(0, "error", "the answer is empty");
  }
  return found;
}

export interface Session {
  /** `closed`: a token is needed first. `expired`: one is needed again, and the page waits to go on. */
  readonly access: "unknown" | "open" | "closed" | "expired";
  readonly isTokenRequired: boolean;
}

const listeners = new Set<() => void>();
let current: Session = { access: "unknown", isTokenRequired: false };
let csrfToken: string | null = null;
let questions = 0;
let tabs: BroadcastChannel | null = null;

function learn(answer: Schemas["SessionState"], hasLeft: boolean): void {
  csrfToken = answer.csrf_token;
  const isOpen = answer.logged_in || !answer.token_required;
  const isInterrupted = !hasLeft && (current.access === "open" || current.access === "expired");
  const access = isOpen ? "open" : isInterrupted ? "expired" : "closed";
  if (access === current.access && answer.token_required === current.isTokenRequired) return;
  current = { access, isTokenRequired: answer.token_required };
  for (const told of listeners) told();
}

/** Take the answer to a change as the newest one, and let the other tabs ask. */
function tell(answer: Schemas["SessionState"], hasLeft: boolean): void {
  questions += 1;
  learn(answer, hasLeft);
  tabs?.postMessage(hasLeft ? LEFT : "");
}

/**
 * Whether the server answers this browser. What proves it is a cookie that no script can read and that all tabs share.
 * The CSRF token that belongs to it is in memory only, and asked for again after a reload.
 */
export const session = {
  current: (): Session => current,
  subscribe: (listener: () => void): (() => void) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  },
  /** Ask now, and whenever another tab has logged in or out. */
  begin: (): void => {
    tabs = new BroadcastChannel(`epochd ${BASE}`);
    tabs.onmessage = ({ data }: MessageEvent<string>) => void session.refresh(data === LEFT);
    void session.refresh();
  },
  /** Ask the server; without an answer, what is known stays as it is. */
  refresh: async (hasLeft = false): Promise<void> => {
    const question = ++questions;
    const { data } = await api.GET("/api/v1/session").catch(() => ({ data: undefined }));
    if (data !== undefined && question === questions) learn(data, hasLeft);
  },
  enter: async (token: string): Promise<void> => {
    tell(await data(api.POST("/api/v1/session", { body: { token } })), false);
  },
  leave: async (): Promise<void> => {
    tell(await data(api.DELETE("/api/v1/session")), true);
  },
  /** What a request that changes something needs besides the cookie. */
  csrfToken: async (): Promise<string | null> => {
    if (current.access === "unknown") await session.refresh();
    return csrfToken;
  },
};

/** The session; a component that uses it is drawn again when it changes. */
export const useSession = (): Session => useSyncExternalStore(session.subscribe, session.current);

/** Send a dataset's file; `onProgress` gets the share that has been sent, from 0 to 1. */
export async function upload(file: File, onProgress: (share: number) => void): Promise<Schemas["DatasetRecord"]> {
  const csrf = await session.csrfToken();
  return new Promise((resolve, reject: (error: ApiError) => void) => {
    const request = new XMLHttpRequest();
    request.open("POST", `${BASE}api/v1/datasets?filename=${encodeURIComponent(file.name)}`);
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    if (csrf !== null) request.setRequestHeader(CSRF_HEADER, csrf);
    request.upload.onprogress = (event) => onProgress(event.total > 0 ? event.loaded / event.total : 0);
    request.onerror = () => reject(unreachable("upload"));
    request.onload = () => {
      if (request.status < 400) {
        resolve(JSON.parse(request.responseText) as Schemas["DatasetRecord"]);
      } else {
        void errorOf(new Response(request.responseText, { status: request.status })).then(reject);
      }
    };
    request.send(file);
  });
}
