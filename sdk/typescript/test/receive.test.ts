// Every adapter, in its real framework.
import "reflect-metadata";

import assert from "node:assert/strict";
import { createServer, request as httpRequest, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";

import { Controller, Module, Post as PostRoute } from "@nestjs/common";
import { NestFactory } from "@nestjs/core";
import type { NestExpressApplication } from "@nestjs/platform-express";
import express from "express";
import fastify from "fastify";
import { Hono } from "hono";

import { webhook as expressWebhook, keepRaw } from "../src/express.js";
import { webhook as fastifyWebhook } from "../src/fastify.js";
import { webhook as fetchWebhook } from "../src/fetch.js";
import { webhook as honoWebhook } from "../src/hono.js";
import { Full, Verifier, type Event } from "../src/index.js";
import { Webhook, WebhookEvent } from "../src/nestjs.js";
import { delivery, secret } from "../src/testing.js";

const limit = 3000;
const verifier = new Verifier(secret, { maxBody: limit });

interface Reply {
  status: number;
  text: string;
  retryAfter: string | undefined;
}

interface Server {
  post(headers: Record<string, string>, body: string, announced?: boolean): Promise<Reply>;
  close(): Promise<unknown>;
}

/** Does with each event what the test says. */
class Handler {
  events: Event[] = [];
  throws: Error | undefined;

  handle = async (event: Event): Promise<void> => {
    await Promise.resolve();
    this.events.push(event);
    if (this.throws) throw this.throws;
  };
}

/** Posts over a socket, with the body's length announced or in chunks. */
function poster(port: number): Server["post"] {
  return (headers, body, announced = true) =>
    new Promise((resolve, reject) => {
      const length: Record<string, string> = announced ? { "content-length": String(Buffer.byteLength(body)) } : { "transfer-encoding": "chunked" };
      const request = httpRequest({ port, method: "POST", path: "/atlas", agent: false, headers: { "content-type": "application/json", ...headers, ...length } }, (response) => {
        let text = "";
        response.setEncoding("utf8").on("data", (chunk) => (text += chunk));
        response.on("end", () => resolve({ status: response.statusCode!, text, retryAfter: response.headers["retry-after"] }));
      });
      request.on("error", reject);
      request.end(body);
    });
}

async function listen(listener: RequestListener): Promise<Server> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { post: poster((server.address() as AddressInfo).port), close: () => new Promise((resolve) => server.close(resolve)) };
}

function expressApp(prepare: (app: express.Express) => void) {
  return (handler: Handler) => {
    const app = express();
    prepare(app);
    app.post("/atlas", expressWebhook(verifier, handler.handle));
    app.use(((_error, _request, response, _next) => response.status(500).end()) as express.ErrorRequestHandler);
    return listen(app);
  };
}

function fetchApp(handle: (request: Request) => Response | Promise<Response>): Server {
  return {
    async post(headers, body, announced = true) {
      const length: Record<string, string> = announced ? { "content-length": String(body.length) } : {};
      const request = new Request("http://x/atlas", { method: "POST", headers: { ...headers, ...length }, body });
      try {
        const response = await handle(request);
        return { status: response.status, text: await response.text(), retryAfter: response.headers.get("retry-after") ?? undefined };
      } catch {
        return { status: 500, text: "", retryAfter: undefined }; // as the platform answers
      }
    },
    close: async () => undefined,
  };
}

async function nestApp(handler: Handler): Promise<Server> {
  @Controller("atlas")
  class Atlas {
    @PostRoute()
    @Webhook(verifier)
    receive(@WebhookEvent() event: Event) {
      return handler.handle(event);
    }
  }
  @Module({ controllers: [Atlas] })
  class App {}
  const app = await NestFactory.create<NestExpressApplication>(App, { rawBody: true, logger: false });
  app.useBodyParser("json", { limit: "2mb" });
  await app.listen(0, "127.0.0.1");
  return { post: poster((app.getHttpServer().address() as AddressInfo).port), close: () => app.close() };
}

const apps: Record<string, (handler: Handler) => Server | Promise<Server>> = {
  Express: expressApp(() => undefined),
  "Express, raw": expressApp((app) => app.use(express.raw({ type: "*/*", limit: "2mb" }))),
  "Express, json that keeps the raw body": expressApp((app) => app.use(express.json({ limit: "2mb", verify: keepRaw }))),
  "node:http": (handler) => listen(expressWebhook(verifier, handler.handle) as RequestListener),
  Fastify: async (handler) => {
    const app = fastify({ bodyLimit: 100 });
    app.register(fastifyWebhook(verifier, handler.handle), { prefix: "/atlas" });
    await app.listen({ port: 0, host: "127.0.0.1" });
    return { post: poster((app.server.address() as AddressInfo).port), close: () => app.close() };
  },
  Hono: (handler) => fetchApp((request) => new Hono().post("/atlas", honoWebhook(verifier, handler.handle)).fetch(request)),
  "Hono, read before": (handler) =>
    fetchApp((request) => {
      const app = new Hono();
      app.use(async (c, next) => (await c.req.text(), next()));
      return app.post("/atlas", honoWebhook(verifier, handler.handle)).fetch(request);
    }),
  "Next.js and other handlers of requests": (handler) => fetchApp(fetchWebhook(verifier, handler.handle)),
  NestJS: nestApp,
};

for (const [framework, start] of Object.entries(apps)) {
  test(framework, async () => {
    const handler = new Handler();
    const server = await start(handler);
    const refused = (status: number, code: string): Reply => ({ status, text: `${code}\n`, retryAfter: undefined });
    try {
      const { headers, body } = await delivery({ topic: "customer.created", data: { id: "c_1", name: "José", text: "x".repeat(1500) }, id: "evt_1" });

      // 2xx after the handler only.
      assert.deepEqual(await server.post(headers, body), { status: 204, text: "", retryAfter: undefined });
      assert.deepEqual(handler.events.map((e) => [e.id, e.data.name]), [["evt_1", "José"]]);
      handler.throws = new Error("broken");
      assert.equal((await server.post(headers, body)).status, 500);
      handler.throws = new Full(7);
      assert.deepEqual(await server.post(headers, body), { status: 503, text: "full\n", retryAfter: "7" });
      handler.throws = undefined;
      assert.equal((await server.post(headers, body, false)).status, 204);
      assert.equal(handler.events.length, 4);

      // Forgeries and nonsense do not reach it.
      assert.deepEqual(await server.post(headers, body.replace("customer", "customs!")), refused(401, "signature_mismatch"));
      assert.deepEqual(await server.post({}, body), refused(401, "signature_missing"));
      assert.deepEqual(await server.post(headers, ""), refused(401, "signature_mismatch"));
      const old = await delivery({ at: 1_700_000_000 });
      assert.deepEqual(await server.post(old.headers, old.body), refused(401, "timestamp_too_old"));
      const large = await delivery({ data: "x".repeat(limit) });
      assert.deepEqual(await server.post(large.headers, large.body), refused(413, "body_too_large"));
      assert.deepEqual(await server.post(large.headers, large.body, false), refused(413, "body_too_large"));
      assert.equal(handler.events.length, 4);
    } finally {
      await server.close();
    }
  });
}

test("a body that was parsed before says so", async () => {
  const handler = new Handler();
  const server = await expressApp((app) => app.use(express.json()))(handler);
  const { headers, body } = await delivery();
  assert.deepEqual(await server.post(headers, body), { status: 400, text: "body_unreadable\n", retryAfter: undefined });
  await server.close();
  const consumed = new Request("http://x", { method: "POST", headers, body });
  await consumed.text();
  assert.equal((await fetchWebhook(verifier, handler.handle)(consumed)).status, 400);
  assert.equal((await fetchWebhook(verifier, handler.handle)(new Request("http://x"))).status, 405);
  assert.equal(handler.events.length, 0);
});

test("a handler may answer itself", async () => {
  const { headers, body } = await delivery();
  const answer = fetchWebhook(verifier, () => new Response("taken", { status: 202 }));
  assert.equal((await answer(new Request("http://x", { method: "POST", headers, body }))).status, 202);
  const server = await listen(expressWebhook(verifier, (_event, _request, response: any) => response.writeHead(202).end("taken")) as RequestListener);
  assert.deepEqual(await server.post(headers, body), { status: 202, text: "taken", retryAfter: undefined });
  await server.close();
});
