import { toBase64 } from "./base64.js";
import type { Format } from "./event.js";
import { importKey, standardKey, subtle } from "./keys.js";
import { pythonRepr } from "./python.js";
import type { Scheme } from "./verify.js";

/** Signs a delivery that names no other secret. It is public: never accept it outside tests. */
export const secret = "whsec_d2ViaG9va3Rlc3QgaXMgZm9yIHRlc3RzIG9ubHkhISE=";

export interface Delivery {
  /** conversation.status unless given. */
  topic?: string;
  /** The published document, */
  data?: unknown;
  /** or its JSON text. */
  dataText?: string;
  secret?: string;
  /** The second secret of webhook-signature while a rotation runs. */
  other?: string;
  scheme?: Scheme;
  format?: Format;
  id?: string;
  webhookId?: string;
  objectId?: string;
  attempt?: number;
  /** 1 unless given; null leaves the header out. */
  sequence?: number | null;
  test?: boolean;
  replay?: string;
  /** When it is signed, in seconds since the epoch. */
  at?: number;
}

/** A request signed as Atlas does it, for the tests of a receiver that verifies with {@link secret}. */
export async function delivery(d: Delivery = {}): Promise<{ headers: Record<string, string>; body: string }> {
  const topic = d.topic ?? "conversation.status";
  const key = d.secret ?? secret;
  const document = ascii(d.dataText ?? JSON.stringify(d.data === undefined ? { id: "c-1", status: "CLOSED" } : d.data));
  const body = `{"event":${JSON.stringify(topic)},"data":${d.format === "object" ? document : JSON.stringify(document)}}`;
  const ms = Math.max(Math.floor(d.at === undefined ? Date.now() : d.at * 1000), 1000);
  const seconds = Math.floor(ms / 1000);
  const timestamp = `${seconds}.${String(ms % 1000 || 1).padStart(3, "0")}`.replace(/0+$/, "");
  const id = d.id ?? `evt_${crypto.randomUUID().replaceAll("-", "")}`;
  const headers: Record<string, string> = {
    "Content-Type": "application/json",
    "User-Agent": "Atlas-Webhooks/test",
    "X-Atlas-Webhook-Signature": await sign(d.scheme ?? "hex", key, timestamp, body),
    "X-Atlas-Webhook-Signature-Timestamp": timestamp,
    "X-Atlas-Webhook-Timestamp": timestamp,
    "X-Atlas-Webhook-Event-Id": id,
    "X-Atlas-Webhook-Subscription-Id": d.webhookId ?? "wh_test",
    "X-Atlas-Webhook-Topic": topic,
    "X-Atlas-Webhook-Attempt": String(d.attempt ?? 1),
  };
  if (d.objectId !== undefined) headers["X-Atlas-Webhook-Object-Id"] = d.objectId.replace(/[^\x20-\x24\x26-\x7e]/gu, encodeURIComponent);
  if (d.sequence !== null) headers["X-Atlas-Webhook-Sequence"] = String(d.sequence ?? 1);
  if (d.test) headers["X-Atlas-Webhook-Test"] = "true";
  if (d.replay !== undefined) headers["X-Atlas-Webhook-Replay"] = d.replay;
  if (standardKey(key) !== undefined) {
    const keys = [key, d.other ?? ""].map(standardKey).filter((k) => k !== undefined);
    const signatures = await Promise.all(keys.map((k) => hmac(k, `${id}.${seconds}.${body}`)));
    headers["webhook-id"] = id;
    headers["webhook-timestamp"] = String(seconds);
    headers["webhook-signature"] = signatures.map((digest) => `v1,${toBase64(digest)}`).join(" ");
  }
  return { headers, body };
}

async function sign(scheme: Scheme, key: string, timestamp: string, body: string): Promise<string> {
  const message = scheme === "python-dict" ? pythonRepr(body) : body;
  if (message === undefined) throw new Error("the body cannot be signed by python-dict");
  const digest = await hmac(new TextEncoder().encode(key), `${timestamp}${scheme === "base64" ? "" : "."}${message}`);
  return scheme.startsWith("base64") ? toBase64(digest) : Array.from(digest, (c) => c.toString(16).padStart(2, "0")).join("");
}

async function hmac(key: Uint8Array, message: string): Promise<Uint8Array> {
  return new Uint8Array(await (await subtle()).sign("HMAC", await importKey(key), new TextEncoder().encode(message)));
}

function ascii(text: string): string {
  return text.replace(/[\x7f-\uffff]/g, (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));
}
