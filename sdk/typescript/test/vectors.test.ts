// The vectors that every verification library of the project runs.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { Verifier, WebhookError, type Format, type Scheme } from "../src/index.js";

const vectors = JSON.parse(readFileSync("../../webhook/testdata/signature.json", "utf8"));

function atlas(signature: string, timestamp: string) {
  return { "X-Atlas-Webhook-Signature": signature, "X-Atlas-Webhook-Signature-Timestamp": timestamp };
}

test("there are enough", () => assert.ok(vectors.valid.length >= 7 && vectors.invalid.length >= 15));

for (const vector of vectors.valid) {
  test(`valid ${vector.event} ${vector.timestamp}`, async () => {
    const published = JSON.parse(vector.published_data);
    const now = () => Number(vector.timestamp);
    for (const [scheme, format, body, signature] of [
      ["hex", "string", vector.body, vector.hex],
      ["base64", "string", vector.body, vector.base64],
      ["base64-dotted", "string", vector.body, vector["base64-dotted"]],
      ["python-dict", "string", vector.body, vector["python-dict"]],
      ["hex", "object", vector.object_body, vector.object_hex],
      ["base64", "object", vector.object_body, vector.object_base64],
    ] as [Scheme, Format, string, string][]) {
      const event = await new Verifier(vector.secret, { scheme, format, now }).verify(atlas(signature, vector.timestamp), new TextEncoder().encode(body));
      assert.equal(event.topic, vector.event);
      assert.deepEqual(event.data, published);
      assert.deepEqual(JSON.parse(event.dataText), published);
      assert.equal(event.signature, signature);
      assert.equal(event.idVerified, false);
    }
    if (vector.standard) {
      const event = await new Verifier(vector.secret, { scheme: "standard", now }).verify(vector.standard, vector.body);
      assert.ok(event.idVerified);
      assert.equal(event.id, vector.standard["webhook-id"]);
    }
  });
}

for (const vector of vectors.invalid) {
  test(`invalid: ${vector.why} ${vector.timestamp}`, async () => {
    const verifier = new Verifier(vector.secret, { scheme: vector.scheme, tolerance: vector.now ? 300 : -1, now: () => vector.now });
    await assert.rejects(
      verifier.verify(atlas(vector.signature, vector.timestamp), vector.body),
      (error) => error instanceof WebhookError && error.code === vector.error,
    );
  });
}
