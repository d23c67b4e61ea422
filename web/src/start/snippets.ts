/** The same training from a shell, from Python and from the command line. */

import type { Config } from "../api/queries";

export type SnippetKind = "curl" | "python" | "cli";

export function snippet(kind: SnippetKind, config: Config, url: string, hasToken: boolean): string {
  const json = JSON.stringify(config, null, 2);
  switch (kind) {
    case "curl":
      return [
        `curl -s ${url}/api/v1/epoch-training/start \\`,
        ...(hasToken ? [`     -H "Authorization: Bearer $EPOCHD_TOKEN" \\`] : []),
        `     -d ${quoted(json)}`,
      ].join("\n");
    case "python":
      return [
        ...(hasToken ? ["import os", ""] : []),
        "from epochd.client import Client",
        "",
        `with Client(${JSON.stringify(url)}${hasToken ? `, os.environ["EPOCHD_TOKEN"]` : ""}) as client:`,
        `    task_id = client.start(${indented(python(config), "    ")})["task_id"]`,
        "    for event in client.stream(task_id):",
        "        print(event)",
      ].join("\n");
    case "cli":
      return [`cat > config.json <<'EOF'`, json, "EOF", `EPOCHD_URL=${url} epochd train config.json`].join("\n");
  }
}

/** One word of a POSIX shell. */
export function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

function indented(text: string, by: string): string {
  return text.replaceAll("\n", `\n${by}`);
}

/** A JSON value as a Python literal. */
export function python(value: unknown, indent = ""): string {
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (typeof value !== "object") return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map((item) => python(item, indent)).join(", ")}]`;
  const inner = `${indent}    `;
  const lines = Object.entries(value).map(([key, item]) => `${inner}${JSON.stringify(key)}: ${python(item, inner)},`);
  return lines.length === 0 ? "{}" : `{\n${lines.join("\n")}\n${indent}}`;
}
