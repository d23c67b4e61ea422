import { beforeEach, describe, expect, test, vi } from "vitest";

import { ApiError } from "./errors";
import { Hub, together, type LiveEvent, type Port, type Told } from "./hub";
import type { Follower, Received } from "./stream";

let opened: { follower: Follower<LiveEvent>; isClosed: boolean }[] = [];
let hub: Hub;

class Page implements Port {
  told: Told[] = [];
  tell = (told: Told): void => void this.told.push(told);
  get ids(): (string | null)[] {
    return this.told.flatMap((one) => (one.kind === "events" ? one.events.map(({ id }) => id) : []));
  }
  get connections(): string[] {
    return this.told.flatMap((one) => (one.kind === "connection" ? [one.connection] : []));
  }
}

const now = (): (typeof opened)[number] => {
  const last = opened.at(-1);
  if (last === undefined) throw new Error("nothing is open");
  return last;
};
const arrive = (...ids: string[]): void => {
  for (const id of ids) now().follower.onEvent({ id, data: { type: "log", task_id: id.split(":")[0] ?? "", level: "info", message: "" } });
};
const query = (): string => decodeURIComponent(now().follower.request(null).url.split("?")[1] ?? "");

beforeEach(() => {
  vi.useFakeTimers();
  opened = [];
  hub = new Hub("http://server/base/", { "Accept-Language": "zh" }, (follower) => {
    const one = { follower, isClosed: false };
    opened.push(one);
    return () => {
      one.isClosed = true;
    };
  });
});

describe("what several pages want", () => {
  test("is each task from the earliest number", () => {
    expect(together([{ follow: { a: 3, b: 1 }, lists: false }, { follow: { a: 2 }, lists: true }])).toEqual({ follow: { a: 2, b: 1 }, lists: true });
  });

  test("comes by one connection, and each gets its own once", () => {
    const [first, second] = [new Page(), new Page()];
    hub.want(first, { follow: { a: 0 }, lists: false });
    hub.want(second, { follow: { b: 5 }, lists: true });
    vi.runAllTimers();
    expect(opened).toHaveLength(1);
    expect(now().follower.request(null)).toMatchObject({ headers: { "Accept-Language": "zh" } });
    expect(query()).toBe("follow=a:0&follow=b:5&tasks=true");
    arrive("a:1", "b:6", "a:2");
    expect(first.ids).toEqual(["a:1", "a:2"]);
    expect(second.ids).toEqual(["b:6"]);
  });

  test("what is no event goes to whom it concerns", () => {
    const [first, second] = [new Page(), new Page()];
    hub.want(first, { follow: { a: 0 }, lists: false });
    hub.want(second, { follow: {}, lists: true });
    vi.runAllTimers();
    const activity = { epoch: 1, step: 0, steps: 1, memory: null, cpu: null, gpus: [] };
    now().follower.onEvent({ id: null, data: { type: "activity", task_id: "a", activity } });
    now().follower.onEvent({ id: null, data: { type: "tasks", tasks: [] } });
    const types = (page: Page): string[] => page.told.flatMap((one) => (one.kind === "events" ? one.events.map(({ data }: Received<LiveEvent>) => data.type) : []));
    expect(types(first)).toEqual(["activity"]);
    expect(types(second)).toEqual(["tasks"]);
  });
});

describe("a change of what is wanted", () => {
  test("another page that joins later, further back, gets all, and the first nothing twice", () => {
    const [first, second] = [new Page(), new Page()];
    hub.want(first, { follow: { a: 0 }, lists: false });
    vi.runAllTimers();
    arrive("a:1", "a:2");
    hub.want(second, { follow: { a: 1 }, lists: false });
    vi.runAllTimers();
    expect(opened.map(({ isClosed }) => isClosed)).toEqual([true, false]);
    expect(query()).toBe("follow=a:1");
    arrive("a:2", "a:3");
    expect(first.ids).toEqual(["a:1", "a:2", "a:3"]);
    expect(second.ids).toEqual(["a:2", "a:3"]);
  });

  test("one that wants what comes anyway causes no connection", () => {
    const [first, second] = [new Page(), new Page()];
    hub.want(first, { follow: { a: 0 }, lists: true });
    vi.runAllTimers();
    arrive("a:1");
    hub.want(second, { follow: { a: 1 }, lists: false });
    vi.runAllTimers();
    expect(opened).toHaveLength(1);
  });

  test("after a lost connection each task is asked for from its last number", () => {
    hub.want(new Page(), { follow: { a: 0, b: 0 }, lists: false });
    vi.runAllTimers();
    arrive("a:1", "b:1", "b:2");
    expect(query()).toBe("follow=a:1&follow=b:2");
  });

  test("without a page there is no connection", () => {
    const page = new Page();
    hub.want(page, { follow: { a: 0 }, lists: false });
    vi.runAllTimers();
    hub.leave(page);
    vi.runAllTimers();
    expect(now().isClosed).toBe(true);
    expect(opened).toHaveLength(1);
  });
});

describe("the connection", () => {
  test("is told to every page, and to one that joins", () => {
    const [first, second] = [new Page(), new Page()];
    hub.want(first, { follow: { a: 0 }, lists: false });
    vi.runAllTimers();
    now().follower.onConnection("connected", null);
    hub.want(second, { follow: { a: 0 }, lists: false });
    now().follower.onConnection("disconnected", null);
    expect(first.connections).toEqual(["connecting", "connected", "disconnected"]);
    expect(second.connections).toEqual(["connected", "disconnected"]);
  });

  test("that was refused is tried again when a page asks again", () => {
    const page = new Page();
    hub.want(page, { follow: { a: 0 }, lists: false });
    vi.runAllTimers();
    now().follower.onConnection("disconnected", new ApiError(401, "unauthorized", "a token is required"));
    expect(page.told.at(-1)).toMatchObject({ failure: { status: 401, code: "unauthorized" } });
    hub.want(page, { follow: { a: 0 }, lists: false });
    vi.runAllTimers();
    expect(opened).toHaveLength(2);
  });
});
