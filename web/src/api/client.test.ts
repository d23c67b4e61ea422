// @vitest-environment jsdom
// @vitest-environment jsdom
import { beforeEach, expect, test, vi } from "vitest";

import type { Schemas } from "./client";

/** What the server knows, and what it was asked. */
let isLoggedIn = false;
let isTokenRequired = true;
let held: Promise<void> | null = null;
let asked: { method: string; path: string; csrf: string | null }[] = [];
let client: typeof import("./client");

const state = (): Schemas["SessionState"] => ({
  success: true,
  token_required: isTokenRequired,
  logged_in: isLoggedIn,
  user: null,
  csrf_token: isLoggedIn ? "csrf" : null,
  expires_at: null,
});
const json = (body: object, status = 200): Response => new Response(JSON.stringify(body), { status, headers: { "Content-Type": "application/json" } });

async function serve(request: Request): Promise<Response> {
  const path = new URL(request.url).pathname;
  asked.push({ method: request.method, path, csrf: request.headers.get("X-CSRF-Token") });
  if (path === "/api/v1/session") {
    if (request.method === "POST") {
      const { token } = (await request.json()) as { token: string };
      if (token !== "right") return json({ success: false, code: "unauthorized", message: "wrong", problems: [] }, 401);
      isLoggedIn = true;
    }
    if (request.method === "DELETE") isLoggedIn = false;
    const answer = state();
    if (request.method === "GET") await held;
    return json(answer);
  }
  if (isTokenRequired && !isLoggedIn) return json({ success: false, code: "unauthorized", message: "no", problems: [] }, 401);
  if (isTokenRequired && request.method !== "GET" && request.headers.get("X-CSRF-Token") !== "csrf") {
    return json({ success: false, code: "csrf_failed", message: "no", problems: [] }, 403);
  }
  return json({ success: true });
}

const post = () => client.data(client.api.POST("/api/v1/epoch-training/start", { body: {} as never }));
const get = () => client.data(client.api.GET("/api/v1/epoch-training/schema"));
const access = (): string => client.session.current().access;

beforeEach(async () => {
  [isLoggedIn, isTokenRequired, held, asked] = [false, true, null, []];
  vi.stubGlobal("fetch", serve);
  vi.resetModules();
  client = await import("./client");
});

test("what changes something waits for the CSRF token, what is read does not have it", async () => {
  isLoggedIn = true; // the page is loaded anew
  await Promise.all([get(), post()]);
  expect(asked).toContainEqual({ method: "GET", path: "/api/v1/epoch-training/schema", csrf: null });
  expect(asked.at(-1)).toEqual({ method: "POST", path: "/api/v1/epoch-training/start", csrf: "csrf" });
});

test("without tokens nothing else is needed", async () => {
  isTokenRequired = false;
  await post();
  expect(client.session.current()).toEqual({ access: "open", isTokenRequired: false });
  expect(asked.at(-1)?.csrf).toBe(null);
});

test("a wrong token stays outside, the right one opens, and nothing is stored", async () => {
  await client.session.refresh();
  expect(access()).toBe("closed");
  await expect(client.session.enter("wrong")).rejects.toMatchObject({ status: 401 });
  expect(access()).toBe("closed");
  await client.session.enter("right");
  expect(access()).toBe("open");
  await post();
  expect(asked.at(-1)?.csrf).toBe("csrf");
  expect(localStorage.length + sessionStorage.length).toBe(0);
});

test("a session that ends is asked for again, one that was left is closed", async () => {
  await client.session.enter("right");
  isLoggedIn = false;
  await expect(get()).rejects.toMatchObject({ status: 401 });
  await vi.waitFor(() => expect(access()).toBe("expired"));
  await expect(client.session.enter("wrong")).rejects.toMatchObject({ status: 401 });
  expect(access()).toBe("expired");
  await client.session.enter("right");
  await client.session.leave();
  expect(access()).toBe("closed");
});

test("a session that another tab has begun is learned from the refusal", async () => {
  await client.session.refresh();
  isLoggedIn = true;
  await expect(post()).rejects.toMatchObject({ code: "csrf_failed" });
  await vi.waitFor(() => expect(access()).toBe("open"));
  await post();
});

test("an answer from before the login does not undo it", async () => {
  await client.session.refresh();
  let arrive = (): void => undefined;
  held = new Promise((resolve) => (arrive = resolve));
  const asking = client.session.refresh();
  await vi.waitFor(() => expect(asked.length).toBe(2));
  await client.session.enter("right");
  arrive();
  await asking;
  expect(access()).toBe("open");
});
