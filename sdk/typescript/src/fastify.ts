/**
 * Receives webhooks in Fastify.
 *
 * @example
 * app.register(webhook(verifier, async (event) => {
 *   console.log(event.topic, event.data);
 * }), { prefix: "/atlas" });
 *
 * @packageDocumentation
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";

import type { Event } from "./event.js";
import { answerTo, tooLarge } from "./receive.js";
import type { Verifier } from "./verify.js";

/**
 * Makes a plugin with the route `POST` at its prefix. Bodies stay raw within it, whatever the rest of the
 * application does with them. It answers 204 after the handler, unless that has answered itself.
 */
export function webhook(verifier: Verifier, handler: (event: Event, request: FastifyRequest, reply: FastifyReply) => unknown) {
  return async (scope: FastifyInstance): Promise<void> => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser("*", { parseAs: "buffer", bodyLimit: verifier.maxBody }, (_request, body, done) => done(null, body));
    scope.setErrorHandler((error, _request, reply) => {
      const large = (error as { code?: string }).code === "FST_ERR_CTP_BODY_TOO_LARGE";
      const answer = answerTo(large ? tooLarge(verifier.maxBody) : error);
      if (answer === undefined) throw error; // the application's
      return reply.code(answer.status).headers(answer.headers).send(answer.text);
    });
    scope.post("/", { bodyLimit: verifier.maxBody }, async (request, reply) => {
      const event = await verifier.verify(request.headers, (request.body as Uint8Array | undefined) ?? "");
      const result = await handler(event, request, reply);
      return reply.sent || result === reply ? reply : reply.code(204).send();
    });
  };
}
