/**
 * Receives webhooks in Express, Connect, and any server of Node.js.
 *
 * @example
 * app.post("/atlas", webhook(verifier, async (event) => {
 *   console.log(event.topic, event.data);
 * }));
 * app.use(express.json()); // behind it, or with `verify: keepRaw`
 *
 * @packageDocumentation
 */
import type { Event } from "./event.js";
import { alreadyParsed, answerTo, bounded, checkLength, collect } from "./receive.js";
import type { Verifier } from "./verify.js";

/** What is used of a request: Node's `IncomingMessage`, with what a body parser may have put there. */
export interface NodeRequest extends AsyncIterable<Uint8Array> {
  headers: Record<string, string | string[] | undefined>;
  readableEnded?: boolean;
  body?: unknown;
  rawBody?: unknown;
}

/** What is used of a response: Node's `ServerResponse`. */
export interface NodeResponse {
  headersSent: boolean;
  writeHead(status: number, headers?: Record<string, string>): unknown;
  end(text?: string): unknown;
}

/** Makes a request handler. It answers 204 after the handler, unless that has answered itself. */
export function webhook<Request extends NodeRequest, Response extends NodeResponse>(
  verifier: Verifier,
  handler: (event: Event, request: Request, response: Response) => unknown,
): (request: Request, response: Response, next?: (error?: unknown) => void) => Promise<void> {
  return async (request, response, next) => {
    try {
      await handler(await verifier.verify(request.headers, await readNode(request, verifier.maxBody)), request, response);
      if (!response.headersSent) send(response, 204, {});
    } catch (error) {
      const answer = answerTo(error) ?? (next === undefined ? { status: 500, headers: {}, text: "" } : undefined);
      if (answer === undefined) return next?.(error);
      // A connection whose body was not read to its end can carry no other request.
      send(response, answer.status, { ...answer.headers, ...(request.readableEnded === false ? { connection: "close" } : {}) }, answer.text);
    }
  };
}

function send(response: NodeResponse, status: number, headers: Record<string, string>, text?: string): void {
  response.writeHead(status, headers);
  response.end(text);
}

/** For `express.json({ verify: keepRaw })`: keeps the raw body beside the parsed one. */
export function keepRaw(request: object, _response: unknown, body: Uint8Array): void {
  (request as { rawBody?: Uint8Array }).rawBody = body;
}

/** Reads a request's raw body, or finds it where a body parser left it. */
export async function readNode(request: NodeRequest, limit: number): Promise<Uint8Array> {
  for (const raw of [request.rawBody, request.body]) {
    if (raw instanceof Uint8Array) return bounded(raw, limit);
    if (typeof raw === "string") return bounded(new TextEncoder().encode(raw), limit);
  }
  const length = request.headers["content-length"];
  if (request.readableEnded && length !== "0") {
    throw alreadyParsed("put the webhook before express.json(), or give that verify: keepRaw");
  }
  checkLength(typeof length === "string" ? length : undefined, limit);
  return collect(request, limit);
}
