/** A real server with a data folder of its own, which can be killed and started again on the same port. */

import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";

const PYTHON = process.env.EPOCHD_PYTHON ?? resolve(import.meta.dirname, "../../.venv/bin/python");
const SERVE = "from epochd.api.server import serve; from epochd.core.settings import load; serve(load())";
const API = "api/v1/epoch-training";

export class Server {
  private process: ChildProcess | null = null;
  private port = "0";
  /** With the path prefix and a slash at the end. */
  url = "";

  private constructor(
    private readonly folder: string,
    private readonly settings: Record<string, string>,
  ) {}

  static async start(settings: Record<string, string> = {}): Promise<Server> {
    const server = new Server(await mkdtemp(join(tmpdir(), "epochd-server-")), settings);
    await server.run();
    return server;
  }

  /** Start the process, and wait until it listens. */
  async run(): Promise<void> {
    const limits = { EPOCHD_SLOTS: "1", EPOCHD_GRACE_SECONDS: "60" }; // a worker whose server is gone ends soon
    const given = { EPOCHD_DATA_DIR: this.folder, EPOCHD_PORT: this.port, ...limits, ...this.settings };
    const started = spawn(PYTHON, ["-c", SERVE], { env: { ...process.env, ...given }, stdio: ["ignore", "pipe", "ignore"] });
    this.process = started;
    const ended = once(started, "exit").then(() => {
      throw new Error(`${PYTHON} has ended before the server listened`);
    });
    const [line] = (await Promise.race([once(createInterface({ input: started.stdout }), "line"), ended])) as [string];
    ended.catch(() => undefined); // later it ends as it should
    const origin = line.split(" ").at(-1) ?? "";
    this.port = new URL(origin).port;
    this.url = `${origin}${this.settings.EPOCHD_ROOT_PATH ?? ""}/`;
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    const ended = this.process;
    if (ended === null) return;
    ended.kill(signal);
    await once(ended, "exit");
    this.process = null;
  }

  async close(): Promise<void> {
    await this.end("SIGTERM");
    await rm(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }

  async json(path: string, body?: object): Promise<Record<string, unknown>> {
    const token = this.settings.EPOCHD_TOKENS?.split(",")[0];
    const answer = await fetch(`${this.url}${path}`, {
      method: body === undefined ? "GET" : "POST",
      headers: token === undefined ? {} : { Authorization: `Bearer ${token}` },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    if (!answer.ok) throw new Error(`${path}: ${await answer.text()}`);
    return (await answer.json()) as Record<string, unknown>;
  }

  /** Queue a training, and return its id. */
  async train(config: object): Promise<string> {
    return String((await this.json(`${API}/start`, { target_column: "target", ...config })).task_id);
  }

  /** Wait until a task is in this state. */
  async reached(id: string, state: string): Promise<void> {
    for (let now = ""; now !== state; ) {
      now = String((await this.json(`${API}/tasks/${id}`)).state);
      if (now !== state) await new Promise((resolved) => setTimeout(resolved, 100));
    }
  }
}
