import { WebhookError } from "./error.js";
import type { Getter } from "./headers.js";

/** How the published document stands in the body: a webhook's `data_format`. */
export type Format = "string" | "object";

/**
 * What a verified request tells. `topic`, `data` and `signedAt` are authenticated; `id` is where
 * `idVerified` is true. What follows `signature` comes from headers that nobody signs.
 */
export interface Event<Data = any> {
  topic: string;
  /** The published document, parsed: the same in both formats. */
  data: Data;
  /** The published document as it was written, for who keeps long numbers. */
  dataText: string;
  /** When this attempt was signed. */
  signedAt: Date;
  /** The event's id: the same on every attempt, retry and replay. */
  id: string;
  /** webhook-signature vouches for the id. */
  idVerified: boolean;
  /** The value that was verified. It differs between attempts. */
  signature: string;

  webhookId: string;
  /** The object that the event is about, decoded; "" if there is none. */
  objectId: string;
  /** 1, 2, 3 … of this delivery; 0 if the header is missing. */
  attempt: number;
  /** The gapless count of the events that the webhook matched; 0 if there is none. */
  sequence: number;
  test: boolean;
  /** The replay that caused it, rpl_…; "" for none. */
  replay: string;
}

/** The fields that nobody signs. */
export function readHeaders(get: Getter) {
  return {
    webhookId: get("x-atlas-webhook-subscription-id") ?? "",
    objectId: decode(get("x-atlas-webhook-object-id") ?? ""),
    attempt: count(get("x-atlas-webhook-attempt")),
    sequence: count(get("x-atlas-webhook-sequence")),
    test: get("x-atlas-webhook-test") === "true",
    replay: get("x-atlas-webhook-replay") ?? "",
  };
}

function decode(value: string): string {
  try {
    return decodeURIComponent(value);
  } catch {
    return value;
  }
}

function count(value = ""): number {
  return /^[0-9]{1,16}$/.test(value) ? Number(value) : 0;
}

interface Body {
  topic: string;
  data: unknown;
  dataText: string;
}

/** Reads topic and data of a body that was verified. */
export function parseBody(body: string, format: Format | undefined): Body {
  const envelope = parse(body);
  if (envelope === undefined || !isObject(envelope.value)) {
    throw new WebhookError("body_malformed", "the body is genuine but no JSON object with event and data");
  }
  const { event: topic, data } = envelope.value;
  if (typeof topic !== "string" || data === undefined) {
    throw new WebhookError("body_malformed", "the body is genuine but has no event or no data");
  }
  if (format !== "object" && typeof data === "string") {
    const inner = parse(data);
    if (inner !== undefined) return { topic, data: inner.value, dataText: data };
  }
  if (format === "string") {
    throw new WebhookError("body_malformed", "the data is no string that holds a JSON document, as data_format: string has it");
  }
  return { topic, data, dataText: member(body, topic) ?? JSON.stringify(data) };
}

/** The text of the data, in a body that is exactly as Atlas writes it. */
function member(body: string, topic: string): string | undefined {
  const head = `{"event":${JSON.stringify(topic)},"data":`;
  const rest = body.slice(head.length, -1);
  return body.startsWith(head) && body.endsWith("}") && parse(rest) !== undefined ? rest : undefined;
}

function parse(text: string): { value: unknown } | undefined {
  try {
    return { value: JSON.parse(text) };
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
