// Starts, streams, pauses, resumes with changes and continues a training, with types generated from the description.
// It prints what the test has to do as the worker, and then what it has received.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

type TrainingEvent = components["schemas"]["TrainingEvent"];

declare const process: { argv: string[] };
const api = createClient<paths>({ baseUrl: process.argv[2] });
const id = (task_id: string) => ({ params: { path: { task_id } } });

function received<T>(answer: { data?: T; error?: components["schemas"]["ErrorShape"] }): T {
  if (answer.data === undefined) throw new Error(answer.error?.message ?? "no data");
  return answer.data;
}

async function untilEpoch(task_id: string, last: number): Promise<number> {
  const { response } = await api.GET("/api/v1/epoch-training/stream-progress/{task_id}", {
    ...id(task_id),
    parseAs: "stream",
  });
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error("the stream has ended");
    text += value;
    for (const line of text.split("\n").filter((line) => line.startsWith("data: ") && line.endsWith("}"))) {
      const event: TrainingEvent = JSON.parse(line.slice(6));
      if (event.type === "progress" && event.progress.latest_metrics?.epoch === last) {
        await reader.cancel();
        return event.progress.latest_metrics.train_loss ?? NaN;
      }
    }
  }
}

const config = { target_column: "target", dataset: "iris", epochs: 3 } satisfies components["schemas"]["TrainingConfig"];
const started = received(await api.POST("/api/v1/epoch-training/start", { body: config }));
console.log("train");
const loss = await untilEpoch(started.task_id, 1);
const pausing = api.POST("/api/v1/epoch-training/pause/{task_id}", id(started.task_id));
console.log("pause");
const paused = received(await pausing);
const changes = { epochs: 5, learning_rate: 0.01 } satisfies components["schemas"]["ResumeOptions"];
const resumed = received(
  await api.POST("/api/v1/epoch-training/resume/{task_id}", { ...id(started.task_id), body: changes }),
);
console.log("complete");
await untilEpoch(started.task_id, 3);
const finished = await (async () => {
  for (;;) {
    const task = received(await api.GET("/api/v1/epoch-training/tasks/{task_id}", id(started.task_id)));
    if (task.state === "completed") return task;
  }
})();
const continued = received(
  await api.POST("/api/v1/epoch-training/continue/{task_id}", { ...id(started.task_id), body: { epochs: 6 } }),
);
console.log(
  JSON.stringify({
    loss,
    paused: paused.state,
    before: resumed.receipt.learning_rate.before,
    after: resumed.receipt.learning_rate.after,
    revisions: finished.revisions.length,
    parent: continued.parent === started.task_id,
    epochs: continued.config.epochs,
  }),
);
