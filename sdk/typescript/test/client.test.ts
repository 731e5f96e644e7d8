import assert from "node:assert/strict";
import { test } from "node:test";

import { Client, Problem } from "../src/index.js";

interface Seen {
  method: string;
  url: string;
  headers: Record<string, string>;
  body: string;
}

/** Answers as it is told, and then well; remembers events by id. */
class Server {
  seen: Seen[] = [];
  pauses: number[] = [];
  events = new Set<string>();
  answers: (Response | Error | "carried out, and the connection lost")[] = [];

  client(retries = 4): Client {
    return new Client("http://x/", "awo_key", { company: "c1", retries, fetch: this.fetch as typeof fetch, sleep: async (ms) => this.pauses.push(ms) });
  }

  fetch = async (url: string, init: RequestInit): Promise<Response> => {
    const body = String(init.body ?? "");
    this.seen.push({ method: init.method!, url, headers: init.headers as Record<string, string>, body });
    const answer = this.answers.shift();
    const lines = body.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line));
    if (typeof answer === "string") {
      for (const { id } of lines) this.events.add(id);
      throw new TypeError("terminated");
    }
    if (answer instanceof Error) throw answer;
    if (answer) return answer;
    const answers = lines.map(({ id }) => ({ id, duplicate: this.events.has(id) || !this.events.add(id) }));
    return Response.json(url.endsWith("batch") ? { data: answers } : answers[0], { status: 202 });
  };
}

test("publish", async () => {
  const server = new Server();
  const event = { event: "customer.created", data: { id: "c_1", name: "José" }, id: "evt_1", objectId: "o_1", occurredAt: new Date(0) };
  assert.deepEqual(await server.client().publish(event), { id: "evt_1", duplicate: false });
  assert.ok((await server.client().publish(event)).duplicate);
  const { method, url, headers, body } = server.seen[0]!;
  assert.deepEqual([method, url], ["POST", "http://x/v1/events"]);
  assert.deepEqual(JSON.parse(body), {
    company_id: "c1", event: "customer.created", id: "evt_1", object_id: "o_1", occurred_at: "1970-01-01T00:00:00.000Z", data: { id: "c_1", name: "José" },
  });
  assert.deepEqual([headers["authorization"], headers["x-atlas-company-id"]], ["Bearer awo_key", "c1"]);
});

test("the document reaches the server as it is written", async () => {
  const server = new Server();
  await server.client().publish({ event: "customer", dataText: '{"n": 1.10,\n "n": 12345678901234567890}' });
  assert.ok(server.seen[0]!.body.endsWith('"data":{"n": 1.10,  "n": 12345678901234567890}}'));
  for (const dataText of ["{", '"a\nb"', ""]) await assert.rejects(server.client().publish({ event: "customer", dataText }), SyntaxError);
});

test("a batch is NDJSON", async () => {
  const server = new Server();
  const published = await server.client().publishBatch([0, 1, 2].map((id) => ({ event: "customer", data: { id }, company: "c2" })));
  assert.equal(new Set(published.map((p) => p.id)).size, 3);
  const { url, headers, body } = server.seen[0]!;
  assert.deepEqual([url, headers["content-type"]], ["http://x/v1/events/batch", "application/x-ndjson"]);
  assert.deepEqual(body.split("\n").map((line) => [JSON.parse(line).company_id, JSON.parse(line).data.id]), [["c2", 0], ["c2", 1], ["c2", 2]]);
  let count = 0;
  for await (const _ of server.client().publishAll([1, 2, 3, 4, 5].map((data) => ({ event: "customer", data })), 2)) count++;
  assert.deepEqual([count, server.seen.length], [5, 4]);
});

test("passing failures are repeated and publish once", async () => {
  const server = new Server();
  server.answers = [new Response("{}", { status: 503, headers: { "retry-after": "3" } }), new Response("<html>", { status: 502 }), new TypeError("fetch failed"), "carried out, and the connection lost"];
  assert.ok((await server.client().publish({ event: "customer", data: {} })).duplicate);
  assert.deepEqual([server.events.size, server.seen.length, new Set(server.seen.map((s) => s.body)).size, server.pauses[0]], [1, 5, 1, 3000]);
});

test("other failures are thrown", async () => {
  const server = new Server();
  const unknown = { code: "unknown_topic", detail: "there is no such topic", request_id: "req_1", errors: [] };
  for (const [response, code] of [
    [Response.json(unknown, { status: 422 }), "unknown_topic"], [new Response(null, { status: 307 }), ""], [new Response("[]", { status: 500 }), ""],
    [new Response("", { status: 503, headers: { "retry-after": "60" } }), ""],
  ] as const) {
    server.answers = [response];
    await assert.rejects(server.client().publish({ event: "customer" }), (error) => error instanceof Problem && error.status === response.status && error.code === code);
  }
  assert.deepEqual([server.pauses, server.seen.length], [[], 4]);
  server.answers = [1, 2, 3].map(() => new Response("", { status: 503 }));
  await assert.rejects(server.client(2).publish({ event: "customer" }), Problem);
  for (const [url, key] of [["hooks.example.com", "key"], ["http://x", ""]] as const) assert.throws(() => new Client(url, key), TypeError);
});

test("pull", async () => {
  const server = new Server();
  server.answers = [
    Response.json({ data: [{ sequence: 4, event_id: "evt_4", event: "customer", object_id: null, data: { n: 1 } }] }),
    Response.json({ data: [] }),
  ];
  const events = [];
  for await (const e of server.client().pull("wh_1", 3)) events.push(e);
  assert.deepEqual(events, [{ sequence: 4, id: "evt_4", topic: "customer", objectId: "", data: { n: 1 } }]);
  assert.deepEqual(server.seen.map((s) => s.url), ["http://x/v1/webhooks/wh_1/events?after=3&limit=250", "http://x/v1/webhooks/wh_1/events?after=4&limit=250"]);
});
