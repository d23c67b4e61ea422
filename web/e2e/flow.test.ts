/** What people do, with a real server and real trainings: start, watch, pause, resume, predict, log in, lose the server. */

import type { Page } from "playwright-core";
import { afterEach, expect, test } from "vitest";

import { visit, type Looks, type Visit } from "./browser";
import { Server } from "./server";

interface ReportPart {
  rows: number;
  classification: { binary: { positives: number; levels: { thresholds: number[]; true_positives: number[]; false_positives: number[] } } };
}

interface Report {
  parts: ReportPart[];
  importances: { columns: { column: string }[] };
}

let server: Server | null = null;
let visited: Visit | null = null;

async function opened(settings: Record<string, string> = {}, looks: Looks = {}): Promise<{ server: Server; page: Page; seen: Visit }> {
  server = await Server.start(settings);
  visited = await visit(new URL(server.url).origin, looks);
  return { server, page: visited.page, seen: visited };
}

afterEach(async () => {
  await visited?.close();
  await server?.close();
  visited = server = null;
});

/** How many epochs the page says are complete. */
async function epochs(page: Page): Promise<number> {
  const text = (await page.getByTestId("epochs").textContent()) ?? "0";
  return Number((text.split("/")[0] ?? "0").replaceAll(",", ""));
}

async function growsBeyond(page: Page, count: number): Promise<void> {
  await expect.poll(() => epochs(page), { timeout: 30_000 }).toBeGreaterThan(count);
}

test("a first training takes three clicks; it is watched, paused, resumed and completed", async () => {
  const { page, seen, server } = await opened();
  await page.goto(server.url);
  await page.getByRole("link", { name: "Try the example" }).click();
  await page.getByText("Ready to start.").waitFor();
  await page.getByLabel("epochs", { exact: true }).fill("4000");
  await page.getByLabel("early_stopping_patience").fill("");
  await page.getByText("Ready to start.").waitFor();
  await page.getByRole("button", { name: "Start training" }).click();
  await page.waitForURL(/tasks\/epoch_training_/);
  await growsBeyond(page, 5);
  await page.getByRole("img", { name: /^Loss: Training/ }).waitFor();

  await page.getByRole("button", { name: "Pause" }).click();
  await page.getByText("Paused", { exact: true }).first().waitFor();
  const before = await epochs(page);
  await page.getByRole("button", { name: "Resume with changes" }).click();
  await page.getByRole("dialog").getByLabel("epochs", { exact: true }).fill("10");
  await page.getByRole("dialog").getByRole("button", { name: "Resume" }).click();
  await page.getByText("it can only be raised").waitFor();
  await page.getByRole("dialog").getByLabel("epochs", { exact: true }).fill("4000");
  await page.getByRole("dialog").getByLabel("learning_rate", { exact: true }).fill("0.002");
  await page.getByRole("dialog").getByRole("button", { name: "Resume" }).click();
  const receipt = page.getByRole("region", { name: "How it goes on" });
  await receipt.getByText(`${before.toLocaleString("en-GB")} epochs and`).waitFor();
  await receipt.getByRole("img", { name: /^Learning rate: Before .*, From now on / }).waitFor();
  await growsBeyond(page, before);
  await page.getByText("Completed", { exact: true }).waitFor({ timeout: 100_000 });
  expect(await epochs(page)).toBe(4000);
  await page.getByRole("listitem").filter({ hasText: "Resumed" }).waitFor();

  await page.getByRole("tab", { name: "Results" }).click();
  await page.getByText("majority class").first().waitFor();
  await page.getByRole("link", { name: "Model", exact: true }).click();
  await page.getByRole("button", { name: "Predict" }).click();
  await page.getByText("Prediction:").waitFor();
  expect(seen.errors.filter((error) => !error.includes("422"))).toEqual([]); // the epochs that were refused
  expect(seen.foreign).toEqual([]);
});

test("problems appear at their fields, in Chinese too, and JSON and form are the same config", async () => {
  const { page, server } = await opened({}, { locale: "zh-CN" });
  await page.goto(`${server.url}start?dataset=wine`);
  await page.getByText("可以开始。").waitFor();
  await page.getByLabel("learning_rate", { exact: true }).fill("-1");
  await page.locator("#field-learning_rate-problem").waitFor();
  expect(await page.locator("#field-learning_rate-problem").textContent()).toContain("输入应大于 0");
  await page.getByRole("tab", { name: "JSON" }).click();
  await page.locator("#json").fill('{"dataset": "wine", "target_column": "target", "epochs": 7}');
  await page.getByText("可以开始。").waitFor();
  await page.getByRole("tab", { name: "表单" }).click();
  expect(await page.getByLabel("epochs", { exact: true }).inputValue()).toBe("7");
  await page.getByLabel("语言").selectOption("en");
  await page.getByText("Ready to start.").waitFor();
  expect(await page.locator("html").getAttribute("lang")).toBe("en");
});

test("a file that is chosen becomes a dataset, a training and a prediction", async () => {
  const { page, server } = await opened();
  const rows = Array.from({ length: 200 }, (_, at) => `${String(at % 17)},${at % 3 === 0 ? "red" : "blue"},${String((at % 17) * 2 + (at % 5))}`);
  await page.goto(`${server.url}start`);
  await page.locator("input[type=file]").setInputFiles({ name: "prices.csv", mimeType: "text/csv", buffer: Buffer.from(["size,colour,price", ...rows].join("\n")) });
  await page.getByText("Ready to start.").waitFor();
  expect(await page.getByLabel("Predict", { exact: true }).inputValue()).toBe("price");
  await page.getByRole("button", { name: "Start training" }).click();
  await page.getByText("Completed", { exact: true }).waitFor({ timeout: 60_000 });
  await page.getByRole("link", { name: "Model", exact: true }).click();
  await page.getByLabel("colour").fill("red");
  await page.getByRole("button", { name: "Predict" }).click();
  await page.getByText("Prediction:").waitFor();
});

test("the curves go on, without a gap and without a double, when the server is killed and started again", async () => {
  const { page, server } = await opened();
  const id = await server.train({ dataset: "digits", epochs: 100_000, early_stopping_patience: null, framework: "pytorch" });
  await page.goto(`${server.url}tasks/${id}`);
  await growsBeyond(page, 3);
  await server.end("SIGKILL");
  await page.getByText("The live connection is interrupted").waitFor();
  const before = await epochs(page);
  await server.run();
  await growsBeyond(page, before);
  await page.getByRole("button", { name: "Pause" }).click();
  await page.getByText("Paused", { exact: true }).first().waitFor();
  const { history } = (await server.json(`api/v1/epoch-training/history/${id}`)) as { history: { epoch: number }[] };
  await expect.poll(() => epochs(page)).toBe(history.length);
  expect(await page.getByText("interrupted").count()).toBe(0);
});

test("eight tabs are live at once, and so is the list, though a browser has six connections", async () => {
  const { page, seen, server } = await opened();
  const id = await server.train({ dataset: "digits", epochs: 100_000, early_stopping_patience: null, framework: "pytorch" });
  const tabs = [page, ...(await Promise.all(Array.from({ length: 7 }, () => seen.context.newPage())))];
  for (const tab of tabs.slice(1)) await tab.goto(`${server.url}tasks/${id}`);
  await page.goto(`${server.url}tasks`);
  const listed = async (): Promise<number> => Number(((await page.getByRole("row").nth(1).locator("span.number", { hasText: "/" }).textContent()) ?? "0").split("/")[0]?.replaceAll(",", ""));
  const before = await listed();
  for (const tab of tabs.slice(1)) await growsBeyond(tab, before + 5);
  await expect.poll(listed, { timeout: 30_000 }).toBeGreaterThan(before + 5);
  await server.end("SIGKILL");
  await server.run();
  const counts = await Promise.all(tabs.slice(1).map(epochs));
  for (const [at, tab] of tabs.slice(1).entries()) await growsBeyond(tab, counts[at] ?? 0);
  expect(await tabs[7]?.evaluate(() => performance.getEntriesByType("resource").filter(({ name }) => name.includes("/epoch-training/stream")).length)).toBe(0);
});

test("another threshold changes counts, scores and curves together; columns, rows, files and a prediction are there", async () => {
  const { page, seen, server } = await opened();
  const id = await server.train({ dataset: "breast_cancer", epochs: 4, test_split: 0.2 });
  await server.reached(id, "completed");
  await page.goto(`${server.url}tasks/${id}?tab=results`);
  const slider = page.getByRole("slider", { name: "Threshold" });
  await slider.waitFor();
  const values = (await server.json(`api/v1/epoch-training/tasks/${id}/report/values`)) as unknown as Report;
  const numbers = async (caption: RegExp): Promise<number[]> => {
    const cells = page.getByRole("table", { name: caption }).locator("tbody td");
    return (await cells.allTextContents()).map((text) => Number(text.replaceAll(",", "")));
  };
  const x = async (): Promise<number> => Number(await page.getByTestId("chosen").first().getAttribute("cx"));

  /** What the page shows at a place of the slider is what the server has counted there. */
  const check = async (part: ReportPart, at: number): Promise<void> => {
    const { levels, positives } = part.classification.binary;
    const [hits, alarms] = [levels.true_positives[at] ?? 0, levels.false_positives[at] ?? 0];
    expect(await slider.inputValue()).toBe(String(at));
    expect(await numbers(/^Confusion matrix at/)).toEqual([part.rows - positives - alarms, alarms, positives - hits, hits]);
    const shown = await numbers(/^Scores at the threshold/);
    expect(shown[0]).toBeCloseTo((hits + part.rows - positives - alarms) / part.rows, 3); // accuracy
    expect(shown[4]).toBeCloseTo(hits / positives, 3); // recall
  };
  const [validation, test] = values.parts;
  if (validation === undefined || test === undefined) throw new Error("the report has two parts");
  const last = validation.classification.binary.levels.thresholds.length - 1;
  const own = validation.classification.binary.levels.thresholds.indexOf(0.5);
  await check(validation, own);
  await slider.focus();
  await page.keyboard.press("End");
  await check(validation, last);
  expect(await page.getByRole("button", { name: /^The model's/ }).getAttribute("aria-pressed")).toBe("false");
  const right = await x();
  await page.keyboard.press("Home");
  await check(validation, 0);
  expect(await x()).toBeGreaterThan(right); // all rows are predicted positive: the upper right corner of the ROC curve
  await page.keyboard.press("ArrowRight");
  await check(validation, 1);
  await page.getByRole("button", { name: /^The model's/ }).click();
  await check(validation, own);
  await page.getByRole("button", { name: "test", exact: true }).click();
  await check(test, test.classification.binary.levels.thresholds.indexOf(0.5));
  await slider.focus();
  await page.keyboard.press("Home");
  await page.reload();
  await slider.waitFor();
  await check(test, 0); // part and threshold are in the address

  const column = values.importances.columns[0]?.column ?? "";
  await page.getByRole("table", { name: "Importance of the columns" }).getByRole("rowheader", { name: column, exact: true }).waitFor();
  await page.getByRole("img", { name: /^Partial dependence/ }).waitFor();
  await page.getByRole("table", { name: "Rows predicted worst" }).waitFor();
  const saved = page.waitForEvent("download");
  await page.getByRole("link", { name: "model.onnx" }).click();
  expect((await saved).suggestedFilename()).toBe("model.onnx");
  await page.getByRole("button", { name: "torch" }).click();
  await page.getByText(`epochd export ${id} --to torch`).waitFor();
  await page.getByRole("button", { name: "Predict" }).click();
  await page.getByText("Prediction:").waitFor();
  expect(seen.errors).toEqual([]);
});

test("under a path prefix every page and every request has the prefix", async () => {
  const { page, seen, server } = await opened({ EPOCHD_ROOT_PATH: "/lab/epochd" });
  const outside: string[] = [];
  page.on("request", (request) => {
    if (!new URL(request.url()).pathname.startsWith("/lab/epochd/")) outside.push(request.url());
  });
  const id = await server.train({ dataset: "iris", epochs: 3 });
  await page.goto(server.url);
  await page.getByRole("link", { name: /^training/ }).click();
  await page.getByText("Completed", { exact: true }).waitFor();
  await page.reload();
  await page.getByText("Completed", { exact: true }).waitFor();
  expect(new URL(page.url()).pathname).toBe(`/lab/epochd/tasks/${id}`);
  for (const name of ["Models", "Datasets", "System", "Compare"]) {
    await page.getByRole("link", { name, exact: true }).click();
    await page.getByRole("heading", { name, exact: true, level: 1 }).waitFor();
  }
  expect(outside).toEqual([]);
  expect(seen.errors).toEqual([]);
});

const SECRET = "a-secret-token";

async function logIn(page: Page, token: string): Promise<void> {
  await page.getByLabel("Token").fill(token);
  await page.getByRole("button", { name: "Log in" }).click();
}

/** What scripts of a page can read. */
const readable = (page: Page): Promise<string> => page.evaluate(() => JSON.stringify([document.cookie, Object.entries(localStorage), Object.entries(sessionStorage), location.href]));

test("a browser logs in once with a token, which no script, address or store keeps; all its tabs log out together", async () => {
  const { page, server, seen } = await opened({ EPOCHD_TOKENS: `another,${SECRET}`, EPOCHD_ROOT_PATH: "/lab" });
  const addresses: string[] = [];
  seen.context.on("request", (request) => addresses.push(request.url()));
  const id = await server.train({ dataset: "iris", epochs: 3 });
  await server.reached(id, "completed");
  await page.goto(`${server.url}tasks/${id}`);
  await logIn(page, "wrong");
  await page.getByText("does not accept").waitFor();
  expect(await seen.context.cookies()).toEqual([]);
  await logIn(page, SECRET);
  await page.getByText("Completed", { exact: true }).waitFor();
  const [cookie] = await seen.context.cookies();
  expect(cookie).toMatchObject({ httpOnly: true, sameSite: "Strict", path: "/lab", secure: false });
  expect(JSON.stringify(cookie)).not.toContain(SECRET);
  await page.reload();
  await page.getByText("Completed", { exact: true }).waitFor();

  // Plain links have the cookie.
  const [report] = await Promise.all([seen.context.waitForEvent("page"), page.getByRole("link", { name: "Report" }).click()]);
  await report.getByRole("heading", { level: 1 }).waitFor();
  await report.close();
  const [archive] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "Download" }).click()]);
  expect([archive.suggestedFilename(), await archive.failure()]).toEqual([`${id}.zip`, null]);

  // Another tab is logged in; it can send a file, and train with it.
  const second = await seen.context.newPage();
  await second.goto(`${server.url}start`);
  const rows = Array.from({ length: 60 }, (_, at) => `${String(at % 7)},${String((at % 7) * 2 + (at % 3))}`);
  await second.locator("input[type=file]").setInputFiles({ name: "t.csv", mimeType: "text/csv", buffer: Buffer.from(["x,y", ...rows].join("\n")) });
  await second.getByText("Ready to start.").waitFor();

  // Its session ends; the page goes on where it was.
  await seen.context.clearCookies();
  await second.getByLabel("epochs", { exact: true }).fill("4");
  await second.getByText("The session has ended").waitFor();
  await logIn(second, "another");
  await second.getByText("Ready to start.").waitFor();
  expect(await second.getByLabel("epochs", { exact: true }).inputValue()).toBe("4");
  await second.getByRole("button", { name: "Start training" }).click();
  await second.getByText("Completed", { exact: true }).waitFor({ timeout: 60_000 });

  expect((await readable(page)) + (await readable(second))).not.toMatch(/epochd_session|secret/);
  await page.getByRole("button", { name: "Log out" }).click();
  await page.getByLabel("Token").waitFor();
  await second.getByLabel("Token").waitFor();
  expect(await second.getByText("Completed", { exact: true }).count()).toBe(0);
  expect(await seen.context.cookies()).toEqual([]);
  expect(addresses.filter((address) => address.includes("secret"))).toEqual([]);
});

test("what is selected stays selected by its id, is deleted with what it frees, and can be undone", async () => {
  const { page, server } = await opened();
  const id = await server.train({ dataset: "iris", epochs: 3, name: "first" });
  await server.train({ dataset: "iris", epochs: 3, name: "second" });
  await server.reached(id, "completed");
  await page.goto(`${server.url}tasks`);
  await page.getByLabel("Select first").check();
  await page.getByRole("button", { name: "Task", exact: false }).first().click(); // another order
  expect(await page.getByLabel("Select first").isChecked()).toBe(true);
  expect(await page.getByLabel("Select second").isChecked()).toBe(false);
  await page.getByRole("button", { name: "Delete" }).click();
  await page.getByRole("dialog").getByText("KiB").first().waitFor();
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await page.getByRole("button", { name: "Undo" }).click();
  await page.getByLabel("Select first").check();
  await page.getByRole("button", { name: "Delete" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await expect.poll(() => page.getByText("first", { exact: false }).count()).toBe(0);
  await expect.poll(async () => (await server.json("api/v1/epoch-training/tasks")).total, { timeout: 15_000 }).toBe(1);
});

test("tasks are compared: colours stay, a filter by keyboard narrows the ranking, and curves go by step", async () => {
  const { page, server, seen } = await opened({ EPOCHD_SLOTS: "2" });
  const rates = [0.1, 0.01, 0.001];
  const ids: string[] = [];
  for (const learning_rate of rates) ids.push(await server.train({ dataset: "iris", epochs: 4, learning_rate, name: `rate ${String(learning_rate)}`, framework: "pytorch" }));
  for (const id of ids) await server.reached(id, "completed");
  await page.goto(`${server.url}compare?ids=${encodeURIComponent(JSON.stringify(ids))}`);
  await page.getByRole("img", { name: /^Loss · epochs/ }).waitFor();
  const ranking = page.getByRole("table", { name: /^Best scores/ });
  const dot = ranking.getByRole("row", { name: /rate 0.01/ }).locator(".dot");
  const colour = await dot.getAttribute("data-colour");
  await page.getByRole("checkbox", { name: /^Draw the curve of rate 0.1$/ }).click();
  await expect.poll(() => ranking.getByRole("row", { name: /rate 0.1/ }).count()).toBe(0);
  expect(await dot.getAttribute("data-colour")).toBe(colour);
  await page.reload();
  await dot.waitFor();
  expect(await dot.getAttribute("data-colour")).toBe(colour);
  await page.getByLabel("Over").selectOption("step");
  await page.getByRole("img", { name: /^Loss · optimizer steps/ }).waitFor();

  await page.getByLabel("Compare all 3 that match").check();
  await page.getByRole("img", { name: /^Parallel coordinates of 3 tasks: .*learning_rate/ }).waitFor();
  await page.getByText("Filter by values").click();
  await page.getByRole("group", { name: "learning_rate" }).getByLabel("from").fill("0.005");
  await page.keyboard.press("Enter");
  await page.getByText("2 of 3").waitFor();
  expect(await ranking.getByRole("row", { name: /rate 0.001/ }).count()).toBe(0);
  expect(seen.errors).toEqual([]);
});

test("a model gets an alias and predicts a table; its dataset says who used it and is read another way", async () => {
  const { page, server, seen } = await opened();
  const rows = Array.from({ length: 120 }, (_, at) => `2026-01-${String((at % 28) + 1).padStart(2, "0")},${String(at % 7)},${String((at % 7) * 3)}`);
  const stored = await fetch(`${server.url}api/v1/datasets?filename=sales.csv`, { method: "POST", body: ["day,size,price", ...rows].join("\n") });
  expect(stored.status).toBe(201);
  const id = await server.train({ dataset: "sales", target_column: "price", epochs: 3, name: "Sales", output_path: "/models/sales" });
  await server.reached(id, "completed");

  await page.goto(`${server.url}datasets/sales`);
  await page.getByRole("link", { name: /^Sales/ }).waitFor();
  await page.getByLabel("Type of size").selectOption("category");
  await page.getByRole("button", { name: "Read it again so" }).click();
  await expect.poll(async () => JSON.stringify((await server.json("api/v1/datasets/sales")).options)).toBe('{"columns":{"size":{"type":"category"}}}');
  await page.getByText("Not applied yet").waitFor({ state: "detached" });
  await page.getByRole("link", { name: "models/sales" }).click();

  await page.getByLabel("New alias of this version").fill("champion");
  await page.getByRole("button", { name: "Add alias" }).click();
  await page.getByRole("button", { name: "Remove the alias champion" }).waitFor();
  await page.getByRole("tab", { name: "Several rows" }).click();
  await page.locator("textarea").fill("day\tsize\n2026-01-05\t3\n2026-01-06\t4");
  await page.getByText("2 rows").waitFor();
  await page.getByRole("button", { name: "Predict" }).click();
  await page.getByText("Predictions (2)").waitFor();
  await page.getByRole("button", { name: "Remove the alias champion" }).click();
  await page.getByText("No alias leads to a version yet.").waitFor();

  await page.getByRole("link", { name: "System", exact: true }).click();
  await page.getByText("Checkpoints", { exact: true }).waitFor();
  expect(seen.errors).toEqual([]);
});
