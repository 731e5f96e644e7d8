/**
 * Receives webhooks in Hono.
 *
 * @example
 * app.post("/atlas", webhook(verifier, async (event) => {
 *   console.log(event.topic, event.data);
 * }));
 *
 * @packageDocumentation
 */
import type { Event } from "./event.js";
import { readRequest } from "./fetch.js";
import { answerTo, bounded } from "./receive.js";
import type { Verifier } from "./verify.js";

/** What is used of Hono's context. */
export interface Context {
  req: { raw: Request; arrayBuffer(): Promise<ArrayBuffer> };
}

/** Makes a handler of Hono. It answers what the handler returns if that is a `Response`, else 204. */
export function webhook<C extends Context>(verifier: Verifier, handler: (event: Event, context: C) => unknown): (context: C) => Promise<Response> {
  return async (context) => {
    try {
      const { raw } = context.req;
      // A body that a middleware has read is in Hono's cache.
      const body = raw.bodyUsed ? bounded(new Uint8Array(await context.req.arrayBuffer()), verifier.maxBody) : await readRequest(raw, verifier.maxBody);
      const result = await handler(await verifier.verify(raw.headers, body), context);
      return result instanceof Response ? result : new Response(null, { status: 204 });
    } catch (error) {
      const answer = answerTo(error);
      if (answer === undefined) throw error;
      return new Response(answer.text, { status: answer.status, headers: answer.headers });
    }
  };
}
