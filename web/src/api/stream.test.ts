import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { follow, gathered, type Connection, type Received } from "./stream";

interface Data {
  type: string;
}

let asked: (string | null)[] = [];
let connections: Connection[] = [];
let received: Received<Data>[] = [];

/** An answer with this text, that is cut off afterwards if `isCut`. */
function answer(text: string, isCut = false): Response {
  const body = new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(new TextEncoder().encode(text)),
    pull(controller) {
      if (isCut) controller.error(new TypeError("network error"));
      else controller.close();
    },
  });
  return new Response(body);
}

const event = (id: number, type = "progress"): string => `data: {"type": "${type}"}\nid: ${String(id)}\n\n`;

/** Follow these answers, one for each connection. */
async function followed(...answers: (() => Response | Promise<Response>)[]): Promise<void> {
  const left = [...answers];
  vi.stubGlobal("fetch", (url: string) => {
    asked.push(url.split(" ")[1] ?? null);
    const next = left.shift();
    return next === undefined ? new Promise(() => undefined) : Promise.resolve().then(next);
  });
  await new Promise<void>((resolve) => {
    follow<Data>({
      request: (cursor) => ({ url: ["stream", ...(cursor === null ? [] : [cursor])].join(" "), headers: {} }),
      onEvent: (event) => received.push(event),
      isFinite: true,
      onConnection: (connection) => {
        connections.push(connection);
        if (connection === "ended" || (connection === "disconnected" && left.length === 0)) resolve();
      },
    });
  });
}

const ids = (): (string | null)[] => received.map(({ id }) => id);

beforeEach(() => {
  asked = [];
  connections = [];
  received = [];
});
afterEach(() => vi.unstubAllGlobals());

test("it ends where the server closes it", async () => {
  await followed(() => answer(event(1) + event(2, "complete")));
  expect(ids()).toEqual(["1", "2"]);
  expect(connections).toEqual(["connecting", "connected", "ended"]);
});

test("after a lost connection it continues after the last event", async () => {
  await followed(
    () => Promise.reject(new TypeError("refused")),
    () => answer(event(1) + event(2), true),
    () => answer(event(3, "complete")),
  );
  expect(ids()).toEqual(["1", "2", "3"]);
  expect(asked).toEqual([null, null, "2"]);
  expect(connections.at(-1)).toBe("ended");
});

test("a shutdown of the server is no event", async () => {
  await followed(
    () => answer(`${event(1)}data: {"type": "server_shutdown"}\n\n`),
    () => answer(event(2, "complete")),
  );
  expect(ids()).toEqual(["1", "2"]);
  expect(asked).toEqual([null, "1"]);
});

test("a stream that has nothing left has ended", async () => {
  await followed(() => new Response(null, { status: 204 }));
  expect(connections).toEqual(["connecting", "ended"]);
});

test("what the server refuses is not asked for again", async () => {
  const refusal = JSON.stringify({ success: false, code: "not_found", message: "no such task", problems: [] });
  await followed(() => new Response(refusal, { status: 404 }));
  expect(connections).toEqual(["connecting", "disconnected"]);
  expect(asked).toHaveLength(1);
});

test("a message without an id is received, and is nothing to continue after", async () => {
  await followed(
    () => answer(`${event(1)}data: {"type": "activity"}\n\n`, true),
    () => answer(event(2)),
  );
  expect(ids()).toEqual(["1", null, "2"]);
  expect(asked).toEqual([null, "1"]);
});

test("what arrives within a moment is shown together, and nothing is lost at the end", () => {
  vi.useFakeTimers();
  const shown: number[][] = [];
  const numbers = gathered<number>((items) => shown.push(items));
  numbers.add(1);
  numbers.add(2);
  expect(shown).toEqual([]);
  vi.advanceTimersByTime(50);
  expect(shown).toEqual([[1, 2]]);
  numbers.add(3);
  numbers.flush();
  expect(shown).toEqual([[1, 2], [3]]);
  vi.advanceTimersByTime(5_000);
  expect(shown).toHaveLength(2);
  vi.useRealTimers();
});

test("what arrives all the time is shown a few times a second, and soon again after it was quiet", () => {
  vi.useFakeTimers();
  const shown: number[][] = [];
  const numbers = gathered<number>((items) => shown.push(items));
  for (let one = 0; one < 100; one += 1) {
    numbers.add(one);
    vi.advanceTimersByTime(20);
  }
  const all = shown.flat();
  expect(all).toEqual([...Array(all.length).keys()]);
  expect(all.length).toBeGreaterThan(70);
  expect(shown.length).toBeLessThanOrEqual(6);
  vi.advanceTimersByTime(1_000);
  numbers.add(100);
  vi.advanceTimersByTime(50);
  expect(shown.at(-1)).toEqual([100]);
  vi.useRealTimers();
});
