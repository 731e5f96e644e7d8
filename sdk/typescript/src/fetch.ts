/**
 * Receives webhooks wherever a handler takes a `Request` and returns a `Response`: a route handler of
 * Next.js, `Bun.serve`, `Deno.serve`, workers.
 *
 * @example
 * export const POST = webhook(verifier, async (event) => {
 *   console.log(event.topic, event.data);
 * });
 *
 * @packageDocumentation
 */
import { alreadyParsed, answerTo, checkLength, collect, type Handler } from "./receive.js";
import type { Verifier } from "./verify.js";

/** Makes a handler of requests. It answers what the handler returns if that is a `Response`, else 204. */
export function webhook(verifier: Verifier, handler: Handler): (request: Request) => Promise<Response> {
  return async (request) => {
    if (request.method !== "POST") return new Response("method not allowed\n", { status: 405, headers: { allow: "POST" } });
    try {
      const event = await verifier.verify(request.headers, await readRequest(request, verifier.maxBody));
      const result = await handler(event);
      return result instanceof Response ? result : new Response(null, { status: 204 });
    } catch (error) {
      const answer = answerTo(error);
      if (answer === undefined) throw error;
      return new Response(answer.text, { status: answer.status, headers: answer.headers });
    }
  };
}

/** Reads a request's raw body. */
export async function readRequest(request: Request, limit: number): Promise<Uint8Array> {
  if (request.bodyUsed) throw alreadyParsed("verify before the body is read");
  checkLength(request.headers.get("content-length"), limit);
  return request.body === null ? new Uint8Array() : collect(chunksOf(request.body), limit);
}

/** Not every runtime iterates a stream by itself. */
async function* chunksOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = stream.getReader();
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read()) yield next.value;
  } finally {
    void reader.cancel().catch(() => undefined); // the rest, if it was given up
  }
}
