import { WebhookError } from "./error.js";
import type { Event } from "./event.js";

/**
 * Thrown by a handler that can take no more now: Atlas waits, and sends the event again. It is answered
 * 503 with Retry-After; the webhook's other events wait too, and no attempt is used up.
 */
export class Full extends Error {
  override readonly name = "Full";
  readonly retryAfter: number;

  constructor(retryAfter = 5) {
    super(`full, try again in ${retryAfter} s`);
    this.retryAfter = retryAfter;
  }
}

/**
 * Takes an event that is genuine and fresh. The request is answered 204 after it: it resolves when the
 * event is dealt with, or handed over durably. What it throws is the framework's, and Atlas sends the
 * event again; {@link Full} asks for a pause.
 */
export type Handler = (event: Event) => unknown;

export interface Answer {
  status: number;
  headers: Record<string, string>;
  text: string;
}

/** The answer that refuses: the code as text, which Atlas shows to the webhook's owner. Undefined for an error that is not ours. */
export function answerTo(error: unknown): Answer | undefined {
  const headers = { "content-type": "text/plain; charset=utf-8" };
  if (error instanceof Full) return { status: 503, headers: { ...headers, "retry-after": String(error.retryAfter) }, text: "full\n" };
  if (error instanceof WebhookError) return { status: error.status, headers, text: `${error.code}\n` };
  return undefined;
}

/** Reads a body of at most `limit` bytes from what arrives in chunks. */
export async function collect(chunks: AsyncIterable<Uint8Array>, limit: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const chunk of chunks) {
      size += chunk.length;
      if (size > limit) break;
      parts.push(chunk);
    }
  } catch {
    throw new WebhookError("body_unreadable", "the body did not arrive in full");
  }
  if (size > limit) throw tooLarge(limit);
  const body = new Uint8Array(size);
  parts.reduce((at, part) => (body.set(part, at), at + part.length), 0);
  return body;
}

export function bounded<T extends Uint8Array>(body: T, limit: number): T {
  if (body.length > limit) throw tooLarge(limit);
  return body;
}

export function checkLength(length: string | null | undefined, limit: number): void {
  if (Number(length ?? 0) > limit) throw tooLarge(limit);
}

export function tooLarge(limit: number): WebhookError {
  return new WebhookError("body_too_large", `the body has more than ${limit} bytes`);
}

export function alreadyParsed(hint: string): WebhookError {
  return new WebhookError("body_unreadable", `something parsed the body before, and the raw one is gone: ${hint}`);
}
