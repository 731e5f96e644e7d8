import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { test } from "node:test";

import fc from "fast-check";

import { ReplayGuard, verify, Verifier, WebhookError, type Event, type Format, type Scheme } from "../src/index.js";
import { delivery, secret } from "../src/testing.js";

const other = "whsec_b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhlcm90aGVyISE=";
const imported = "an imported secret";
const schemes: Scheme[] = ["hex", "base64", "base64-dotted", "python-dict", "standard"];
const signedAs = (scheme: Scheme): Scheme => (scheme === "standard" ? "hex" : scheme);
const fixed = { seed: 1 }; // the same examples in every run

/** The code of what a call rejects with; anything but a WebhookError fails the test. */
async function codeOf(call: Promise<unknown>): Promise<string | undefined> {
  try {
    await call;
    return undefined;
  } catch (error) {
    assert.ok(error instanceof WebhookError, String(error));
    return error.code;
  }
}

function sign(body: string, timestamp = `${Math.floor(Date.now() / 1000)}.5`): Record<string, string> {
  const signature = createHmac("sha256", secret).update(`${timestamp}.${body}`).digest("hex");
  return { "X-Atlas-Webhook-Signature": signature, "X-Atlas-Webhook-Signature-Timestamp": timestamp };
}

test("an event holds what the request says", async () => {
  const at = 1772442000.123;
  const { headers, body } = await delivery({
    topic: "customer.created", dataText: '{"id":"c_1","name":"José\x7f😀"}', id: "evt_1", webhookId: "wh_1",
    objectId: "50% é", attempt: 3, sequence: 42, test: true, replay: "rpl_1", at,
  });
  const event = await new Verifier(secret, { now: () => at }).verify(headers, body);
  assert.deepEqual(event, {
    topic: "customer.created", data: { id: "c_1", name: "José\x7f😀" }, dataText: '{"id":"c_1","name":"Jos\\u00e9\\u007f\\ud83d\\ude00"}',
    signedAt: new Date("2026-03-02T09:00:00.123Z"), id: "evt_1", idVerified: true, signature: headers["X-Atlas-Webhook-Signature"],
    webhookId: "wh_1", objectId: "50% é", attempt: 3, sequence: 42, test: true, replay: "rpl_1",
  });
});

test("data is the document in both formats", async () => {
  for (const [data, asObject] of [
    ['{"id": 1}', '{"id": 1}'], ["[1, 1.0]", "[1, 1.0]"], ['"text"', '"text"'], ["null", "null"], ["-0.0", "-0.0"],
    ["12345678901234567890", "12345678901234567890"], ['"{\\"id\\": 1}"', '{"id": 1}'], ['"1"', "1"],
  ] as const) {
    for (const format of ["string", "object"] as Format[]) {
      const { headers, body } = await delivery({ dataText: data, format });
      assert.equal((await new Verifier(secret, { format }).verify(headers, body)).dataText, data);
      assert.equal((await verify(headers, body, secret)).dataText, format === "string" ? data : asObject);
    }
  }
});

test("any of several secrets", async () => {
  const { headers, body } = await delivery();
  for (const secrets of [[secret, other], [other, secret], [other, "0123456789abcdef", secret]]) await verify(headers, body, secrets);
  assert.equal(await codeOf(verify(headers, body, [other, "0123456789abcdef"])), "signature_mismatch");
});

test("a rotation verifies both ways", async () => {
  const { headers, body } = await delivery({ other });
  for (const one of [secret, other]) await new Verifier(one, { scheme: "standard" }).verify(headers, body);
  assert.equal(await codeOf(verify(headers, body, other)), "signature_mismatch");
});

test("without a secret nothing verifies", async () => {
  const { headers, body } = await delivery();
  for (const secrets of [undefined, null, "", [], [""], [secret, ""], [secret, undefined as unknown as string]]) {
    assert.equal(await codeOf(verify(headers, body, secrets)), "secret_missing");
  }
  assert.equal(await codeOf(new Verifier(imported, { scheme: "standard" }).verify(headers, body)), "secret_malformed");
  assert.equal(await codeOf(new Verifier(secret, { scheme: "sha1" as Scheme }).verify(headers, body)), "scheme_unknown");
});

test("missing headers", async () => {
  for (const [scheme, remove, code] of [
    ["hex", ["X-Atlas-Webhook-Signature"], "signature_missing"],
    ["hex", ["X-Atlas-Webhook-Signature-Timestamp"], undefined], // the later revisions' name is there
    ["hex", ["X-Atlas-Webhook-Timestamp"], undefined],
    ["hex", ["X-Atlas-Webhook-Signature-Timestamp", "X-Atlas-Webhook-Timestamp"], "timestamp_missing"],
    ["hex", ["webhook-id", "webhook-timestamp", "webhook-signature"], undefined],
    ["standard", ["X-Atlas-Webhook-Signature"], undefined],
    ["standard", ["webhook-signature"], "signature_missing"],
    ["standard", ["webhook-id"], "id_missing"],
    ["standard", ["webhook-timestamp"], "timestamp_missing"],
  ] as [Scheme, string[], string | undefined][]) {
    const { headers, body } = await delivery();
    for (const name of remove) delete headers[name];
    assert.equal(await codeOf(new Verifier(secret, { scheme }).verify(headers, body)), code, `${scheme} ${remove}`);
  }
});

test("tolerance", async () => {
  const { headers, body } = await delivery({ at: 1772442000.5 });
  for (const [tolerance, age, code] of [
    [300, 0, undefined], [300, 299.9, undefined], [300, 300.1, "timestamp_too_old"], [300, -299.9, undefined],
    [300, -300.1, "timestamp_too_new"], [1, 2, "timestamp_too_old"], [86400, 80000, undefined], [-1, 1e9, undefined], [-1, -1e9, undefined],
  ] as const) {
    const verifier = new Verifier(secret, { tolerance, now: () => 1772442000.5 + age });
    assert.equal(await codeOf(verifier.verify(headers, body)), code);
  }
});

test("the id is verified only for this request", async () => {
  const now = Date.now() / 1000;
  const earlier = (await delivery({ id: "evt_2", at: now - 2 })).headers;
  const { headers, body } = await delivery({ id: "evt_1", at: now });
  const standard = ["webhook-id", "webhook-timestamp", "webhook-signature"];
  for (const change of [
    { "webhook-id": "evt_forged" }, { "webhook-signature": "v1,AAAA" }, { "webhook-signature": "" },
    Object.fromEntries(standard.map((name) => [name, earlier[name]])), { "webhook-signature": `${headers["webhook-signature"]} `.repeat(17) },
  ]) {
    const event = await verify({ ...headers, ...change }, body, secret);
    assert.deepEqual([event.id, event.idVerified], ["evt_1", false]);
  }
  const event = await verify({ ...headers, "X-Atlas-Webhook-Event-Id": "evt_forged" }, body, secret);
  assert.deepEqual([event.id, event.idVerified], ["evt_1", true]);
});

test("a genuine body that is no event", async () => {
  for (const body of [
    "", "[]", "{}", "null", '{"event":"conversation"}', '{"data":"{}"}', '{"event":1,"data":"{}"}', '{"event":null,"data":1}', "\ufeff{}",
    '{"event":"a","data":' + "[".repeat(100_000), '{"event":"a","data":1}x',
  ]) {
    assert.equal(await codeOf(verify(sign(body), body, secret)), "body_malformed", body.slice(0, 40));
  }
  for (const body of ['{"event":"conversation","data":{}}', '{"event":"conversation","data":"no JSON"}']) {
    assert.equal(await codeOf(new Verifier(secret, { format: "string" }).verify(sign(body), body)), "body_malformed");
  }
  const raw = Buffer.from('{"event":"\xff","data":1}', "latin1");
  const signature = createHmac("sha256", secret).update("1.5.").update(raw).digest("hex");
  const headers = { "X-Atlas-Webhook-Signature": signature, "X-Atlas-Webhook-Timestamp": "1.5" };
  assert.equal(await codeOf(new Verifier(secret, { tolerance: -1 }).verify(headers, raw)), "body_malformed");
});

test("headers in every shape", async () => {
  const { headers, body } = await delivery({ id: "evt_1" });
  const entries = Object.entries(headers);
  const shapes: Record<string, any> = {
    object: headers,
    "lower case": Object.fromEntries(entries.map(([name, value]) => [name.toLowerCase(), value])),
    lists: Object.fromEntries(entries.map(([name, value]) => [name, [value]])),
    "empty lists": { Accept: [], ...headers },
    "no prototype": Object.assign(Object.create(null), headers),
    Headers: new Headers(headers),
    "like Headers": { [Symbol.iterator]: () => new Headers(headers).entries(), get: () => null },
    Map: new Map(entries),
    pairs: entries,
    rawHeaders: entries.flat(),
    "serverless event": { headers, body: null },
    "serverless event, many values": { headers: null, multiValueHeaders: Object.fromEntries(entries.map(([name, value]) => [name, [value]])) },
    "serverless event, both": { headers: { Accept: "*/*" }, multiValueHeaders: Object.fromEntries(entries.map(([name, value]) => [name, [value]])) },
    Request: { headers: new Headers(headers) },
  };
  for (const [name, shape] of Object.entries(shapes)) {
    assert.ok((await verify(shape, body, secret)).idVerified, name);
  }
  for (const none of [undefined, null, 5, "text", [], [1, 2], ["ab"], {}, { headers: "x" }, { headers: [] }]) {
    assert.equal(await codeOf(verify(none as any, "{}", secret)), "signature_missing");
  }
});

test("bodies in every shape", async () => {
  const { headers, body } = await delivery();
  const raw = new TextEncoder().encode(body);
  for (const shape of [body, raw, raw.buffer, Buffer.from(body), new DataView(raw.buffer) as any]) await verify(headers, shape, secret);
  for (const shape of [undefined, null, { event: "x" }, 5]) assert.equal(await codeOf(verify(headers, shape as any, secret)), "body_unreadable");
});

test("serverless events", async () => {
  const { headers, body } = await delivery();
  const verifier = new Verifier(secret);
  const encoded = Buffer.from(body).toString("base64");
  const multiValueHeaders = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, [value]]));
  for (const request of [{ headers, body, isBase64Encoded: false }, { headers, body: encoded, isBase64Encoded: true }, { multiValueHeaders, body }]) {
    assert.ok((await verifier.verifyServerless(request)).idVerified);
  }
  for (const [request, code] of [
    [{ headers, body: "%%%", isBase64Encoded: true }, "body_unreadable"],
    [{ headers, body: null }, "signature_mismatch"],
    [{ headers }, "signature_mismatch"],
    [{}, "signature_missing"],
    [undefined, "signature_missing"],
  ] as const) {
    assert.equal(await codeOf(verifier.verifyServerless(request as any)), code);
  }
});

test("any document verifies", async () => {
  await fc.assert(
    fc.asyncProperty(fc.jsonValue(), fc.constantFrom(...schemes), fc.constantFrom<Format>("string", "object"), async (data, scheme, any) => {
      const format = scheme === "python-dict" ? "string" : any;
      const { headers, body } = await delivery({ data: [data], scheme: signedAs(scheme), format });
      const event = await new Verifier(secret, { scheme, format }).verify(headers, body);
      assert.deepEqual(event.data, JSON.parse(JSON.stringify([data])));
      assert.ok(event.idVerified && /^[\x20-\x7e]*$/.test(body));
    }),
    { ...fixed, numRuns: 100 },
  );
});

test("any flipped bit is refused", async () => {
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...schemes), fc.constantFrom<Format>("string", "object"), fc.nat(), fc.nat(), async (scheme, any, part, bit) => {
      const format = scheme === "python-dict" ? "string" : any;
      const { headers, body } = await delivery({ scheme: signedAs(scheme), format, id: "evt_1", at: 1772442000.123 });
      const options = { scheme, format, tolerance: -1 };
      await new Verifier(secret, options).verify(headers, body); // the control
      const names = scheme === "standard" ? ["webhook-signature", "webhook-timestamp", "webhook-id"] : ["X-Atlas-Webhook-Signature", "X-Atlas-Webhook-Signature-Timestamp"];
      const parts = [body, secret, ...names.map((name) => headers[name]!)];
      const n = part % parts.length;
      const changed = Buffer.from(parts[n]!);
      const at = bit % (changed.length * 8);
      changed[at >> 3]! ^= 1 << (at & 7);
      if (n >= 2) headers[names[n - 2]!] = changed.toString("latin1");
      const verifier = new Verifier(n === 1 ? changed.toString("latin1") : secret, options);
      assert.notEqual(await codeOf(verifier.verify(headers, n === 0 ? changed : body)), undefined);
    }),
    { ...fixed, numRuns: 200 },
  );
});

test("strangers get no other error", async () => {
  const names = fc.constantFrom(...Object.keys((await delivery()).headers), "headers", "multiValueHeaders", "x");
  const values = fc.oneof(fc.anything(), fc.string(), fc.array(fc.string(), { maxLength: 2 }));
  const sources = fc.oneof(fc.dictionary(names, fc.oneof(values, fc.dictionary(names, values))), fc.array(fc.tuple(names, values)), fc.anything());
  const secrets = fc.oneof(fc.string(), fc.array(fc.string(), { maxLength: 3 }), fc.constant(undefined));
  await fc.assert(
    fc.asyncProperty(sources, fc.oneof(fc.string(), fc.uint8Array(), fc.anything()), secrets, fc.constantFrom(...schemes, "x" as Scheme), async (headers, body, given, scheme) => {
      const verifier = new Verifier(given, { scheme });
      assert.notEqual(await codeOf(verifier.verify(headers as any, body as any)), undefined);
      assert.notEqual(await codeOf(verifier.verifyServerless({ headers, body, isBase64Encoded: true } as any)), undefined);
      assert.notEqual(await codeOf(verifier.verifyServerless(headers as any)), undefined);
    }),
    { ...fixed, numRuns: 200 },
  );
});

test("signed garbage gets no other error", async () => {
  const bodies = fc.oneof(fc.string(), fc.string({ unit: "binary" }), fc.stringMatching(/^\{"event":"[a-z]*","data":.*\}$/));
  await fc.assert(
    fc.asyncProperty(bodies, fc.constantFrom<Format | undefined>("string", "object", undefined), async (body, format) => {
      assert.ok([undefined, "body_malformed", "signature_mismatch"].includes(await codeOf(new Verifier(secret, { format }).verify(sign(body), body))));
    }),
    { ...fixed, numRuns: 100 },
  );
});

test("any time is a time", async () => {
  const body = '{"event":"conversation","data":"{}"}';
  await fc.assert(
    fc.asyncProperty(fc.stringMatching(/^[0-9]{1,15}(\.[0-9]{1,15})?$/), async (seconds) => {
      const event = await new Verifier(secret, { tolerance: -1 }).verify(sign(body, seconds), body);
      assert.ok(!Number.isNaN(event.signedAt.getTime()));
    }),
    { ...fixed, numRuns: 50 },
  );
});

test("a request is first once", async () => {
  const { headers, body } = await delivery({ id: "evt_1", webhookId: "wh_1" });
  const guard = new ReplayGuard();
  assert.ok(guard.first(await verify(headers, body, secret)));
  for (const change of [{}, { "X-Atlas-Webhook-Subscription-Id": "wh_2" }, { "webhook-signature": "", "X-Atlas-Webhook-Event-Id": "evt_2" }]) {
    assert.ok(!guard.first(await verify({ ...headers, ...change }, body, secret)));
  }
  guard.forget(await verify(headers, body, secret));
  assert.ok(guard.first(await verify(headers, body, secret)));
});

test("a later attempt is not first where the id is verified", async () => {
  for (const [key, want] of [[secret, false], [imported, true]] as const) {
    const guard = new ReplayGuard();
    const verifier = new Verifier(key, { tolerance: -1 });
    for (const [at, first] of [[1772442000, true], [1772442005, want]] as const) {
      const { headers, body } = await delivery({ id: "evt_1", secret: key, at });
      assert.equal(guard.first(await verifier.verify(headers, body)), first);
    }
  }
});

test("the guard keeps apart what is apart", async () => {
  const guard = new ReplayGuard();
  for (const [key, webhookId] of [[secret, "wh_1"], [other, "wh_2"]] as const) {
    const { headers, body } = await delivery({ id: "evt_1", webhookId, secret: key });
    assert.ok(guard.first(await verify(headers, body, [secret, other])));
  }
  for (let n = 0; n < 2; n++) {
    const { headers, body } = await delivery({ at: 1772442000 }); // two events of one text in one millisecond
    assert.ok(guard.first(await new Verifier(secret, { tolerance: -1 }).verify(headers, body)));
  }
});

test("by the standard scheme what stands beside the signature does not count", async () => {
  const guard = new ReplayGuard();
  const verifier = new Verifier(secret, { scheme: "standard" });
  const { headers, body } = await delivery();
  assert.ok(guard.first(await verifier.verify(headers, body)));
  const forged = { ...headers, "webhook-signature": `${headers["webhook-signature"]} v1,AAAA`, "X-Atlas-Webhook-Subscription-Id": "wh_2" };
  assert.ok(!guard.first(await verifier.verify(forged, body)));
});

test("the guard's time and memory are bounded", async () => {
  let clock = 0;
  const guard = new ReplayGuard({ seconds: 10, most: 9, now: () => clock });
  const verifier = new Verifier(secret, { tolerance: -1 });
  const events: Event[] = [];
  for (let n = 0; n < 4; n++) {
    const { headers, body } = await delivery({ at: 1772442000 + n });
    events.push(await verifier.verify(headers, body));
  }
  const first = (n: number) => guard.first(events[n]!);
  assert.ok(first(0) && first(1) && first(2) && !first(2) && first(3));
  assert.ok(first(0)); // it was forgotten
  clock = 10;
  assert.ok(first(3));
});
