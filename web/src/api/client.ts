/**
 * The one way to the API: typed by its OpenAPI description, in the language of the page, with the token of the session,
 * and with every failure as an `ApiError`, whose sentences are the server's.
 */

import createClient from "openapi-fetch";

import { currentLanguage } from "../language/language";
import { ApiError, refusal, unreachable } from "./errors";
import type { components, paths } from "./schema";

export { ApiError, unreachable, type Problem } from "./errors";
export type Schemas = components["schemas"];

/** The path that the server's addresses begin with: `/`, or `/epochd/` under a prefix. */
export const BASE = new URL(document.baseURI).pathname;
const TOKEN = "epochd.token";

const listeners = new Set<() => void>();
let isTokenWanted = false;

/** The token of this browser tab, and whether the server has asked for one. It never becomes part of an address. */
export const session = {
  token: (): string | null => sessionStorage.getItem(TOKEN),
  isTokenWanted: (): boolean => isTokenWanted,
  enter(token: string): void {
    sessionStorage.setItem(TOKEN, token);
    session.want(false);
  },
  leave(): void {
    sessionStorage.removeItem(TOKEN);
    session.want(true);
  },
  want(wanted: boolean): void {
    isTokenWanted = wanted;
    for (const told of listeners) told();
  },
  subscribe(listener: () => void): () => void {
    listeners.add(listener);
    return () => listeners.delete(listener);
  },
};

/** The headers of every request. */
export function headers(): Record<string, string> {
  const token = session.token();
  return { "Accept-Language": currentLanguage(), ...(token === null ? {} : { Authorization: `Bearer ${token}` }) };
}

/** The error that an answer of 400 or above describes. */
export async function errorOf(response: Response): Promise<ApiError> {
  if (response.status === 401) session.want(true);
  return refusal(response);
}

export const api = createClient<paths>({ baseUrl: `${location.origin}${BASE}`.replace(/\/$/, "") });
api.use({
  onRequest({ request }) {
    for (const [name, value] of Object.entries(headers())) request.headers.set(name, value);
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

/** Fetch a file with the token, and let the browser save it. */
export async function download(path: string, name: string): Promise<void> {
  const response = await fetch(`${BASE}${path}`, { headers: headers() });
  if (!response.ok) throw await errorOf(response);
  const address = URL.createObjectURL(await response.blob());
  const link = Object.assign(document.createElement("a"), { href: address, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** Send a dataset's file; `onProgress` gets the share that has been sent, from 0 to 1. */
export function upload(file: File, onProgress: (share: number) => void): Promise<Schemas["DatasetRecord"]> {
  return new Promise((resolve, reject: (error: ApiError) => void) => {
    const request = new XMLHttpRequest();
    request.open("POST", `${BASE}api/v1/datasets?filename=${encodeURIComponent(file.name)}`);
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
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
