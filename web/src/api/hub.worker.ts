/** The hub as a worker that the pages of a browser share; its name says where the API is and the language of messages. */

import { Hub, type Port, type Want } from "./hub";

/** What a page sends: what it wants, that it is still there, or that it is not any more. */
export type Asked = { kind: "want"; want: Want } | { kind: "alive" } | { kind: "leave" };

export interface Named {
  base: string;
  language: string;
}

const LOOKED = 60_000; // pages in the background may wake up once a minute only
const SILENT = 200_000;

const scope = self as unknown as { name: string; onconnect: (event: MessageEvent) => void };
const { base, language } = JSON.parse(scope.name) as Named;
const hub = new Hub(`${location.origin}${base}`, { "Accept-Language": language });
const heard = new Map<Port, number>();

function forget(port: Port): void {
  heard.delete(port);
  hub.leave(port);
}

scope.onconnect = ({ ports: [channel] }) => {
  if (channel === undefined) return;
  const port: Port = { tell: (told) => channel.postMessage(told) };
  channel.onmessage = ({ data }: MessageEvent<Asked>) => {
    heard.set(port, Date.now());
    if (data.kind === "want") hub.want(port, data.want);
    if (data.kind === "leave") forget(port);
  };
};

setInterval(() => {
  for (const [port, at] of heard) if (Date.now() - at > SILENT) forget(port);
}, LOOKED);
