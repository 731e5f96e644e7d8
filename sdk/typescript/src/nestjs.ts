/**
 * Receives webhooks in NestJS, on Express or Fastify. The application must keep raw bodies:
 * `NestFactory.create(AppModule, { rawBody: true })` and `app.useBodyParser("json", { limit: "2mb" })`.
 *
 * @example
 * @Controller("atlas")
 * class AtlasController {
 *   @Post()
 *   @Webhook(verifier)
 *   async receive(@WebhookEvent() event: Event) {
 *     console.log(event.topic, event.data);
 *   }
 * }
 *
 * @packageDocumentation
 */
import { applyDecorators, Catch, createParamDecorator, HttpCode, UseFilters, UseGuards } from "@nestjs/common";
import type { ArgumentsHost, CanActivate, ExceptionFilter, ExecutionContext } from "@nestjs/common";

import { WebhookError } from "./error.js";
import type { Event } from "./event.js";
import { alreadyParsed, answerTo, bounded, Full } from "./receive.js";
import type { Verifier } from "./verify.js";

const key = Symbol("atlas-webhooks event");

interface NestRequest {
  headers: Record<string, string | string[] | undefined>;
  rawBody?: Uint8Array;
  [key]?: Event;
}

/** Lets only requests pass that are genuine and fresh, and answers 204 after the method. */
export function Webhook(verifier: Verifier): MethodDecorator & ClassDecorator {
  const guard: CanActivate = {
    async canActivate(context: ExecutionContext) {
      const request = context.switchToHttp().getRequest<NestRequest>();
      if (request.rawBody === undefined && request.headers["content-length"] !== "0") {
        throw alreadyParsed("create the application with rawBody: true");
      }
      request[key] = await verifier.verify(request.headers, bounded(request.rawBody ?? new Uint8Array(), verifier.maxBody));
      return true;
    },
  };
  return applyDecorators(UseGuards(guard), UseFilters(new Refusals()), HttpCode(204));
}

/** The event of a request, as a parameter of a method with {@link Webhook}. */
export const WebhookEvent: () => ParameterDecorator = createParamDecorator(
  (_data: unknown, context: ExecutionContext) => context.switchToHttp().getRequest<NestRequest>()[key],
);

class Refusals implements ExceptionFilter {
  catch(error: WebhookError | Full, host: ArgumentsHost): void {
    const answer = answerTo(error)!;
    const response = host.switchToHttp().getResponse();
    response.status(answer.status);
    for (const [name, value] of Object.entries(answer.headers)) (response.set ?? response.header).call(response, name, value); // Express, Fastify
    response.send(answer.text);
  }
}
Catch(WebhookError, Full)(Refusals);
