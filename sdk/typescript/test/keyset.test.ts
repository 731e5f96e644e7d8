import assert from "node:assert/strict";
import { generateKeyPairSync, sign } from "node:crypto";
import { test } from "node:test";
import { KeySet, Verifier, WebhookError } from "../src/index.js";

const pair = () => {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  return { x: publicKey.export({ format: "jwk" }).x as string, privateKey };
};

const body = '{"event":"customer","data":"1"}';

test("a set is fetched once for an unknown key, and what is wrong is named", async () => {
  const one = pair();
  const two = pair();
  const known: Record<string, string> = { k1: one.x };
  let asked = 0;
  let away = false;
  let now = 1_732_363_200;
  const keys = new KeySet("https://example.com/jwks.json?company_id=c1", {
    fetch: async () => {
      asked++;
      return { ok: !away, status: 502, json: async () => ({ keys: [{ kty: "RSA", kid: "r" }, ...Object.entries(known).map(([kid, x]) => ({ kty: "OKP", crv: "Ed25519", kid, x }))] }) };
    },
  });
  const verifier = new Verifier(undefined, { scheme: "ed25519", keys, now: () => now });
  const headers = (kid: string, key: typeof one.privateKey, at = now): Record<string, string> => ({
    "webhook-id": "evt_1",
    "webhook-timestamp": String(at),
    "webhook-signature": `v1,AAAA v1a,${sign(null, Buffer.from(`evt_1.${at}.${body}`), key).toString("base64")}`,
    "x-atlas-webhook-key-id": kid,
  });
  const refused = (h: Record<string, string>, code: string) =>
    assert.rejects(verifier.verify(h, body), (error) => error instanceof WebhookError && error.code === code);

  for (let i = 0; i < 3; i++) assert.equal((await verifier.verify(headers("k1", one.privateKey), body)).idVerified, true);
  assert.equal(asked, 1);
  await refused(headers("k1", two.privateKey), "signature_mismatch");
  await refused({ ...headers("k1", one.privateKey), "webhook-id": "evt_2" }, "signature_mismatch");
  await refused({ ...headers("k1", one.privateKey), "x-atlas-webhook-key-id": "" }, "key_missing");
  await refused({ ...headers("k1", one.privateKey), "webhook-signature": "v1,AAAA" }, "signature_missing");
  await refused(headers("k1", one.privateKey, now - 1000), "timestamp_too_old");
  now += 60;
  known.k2 = two.x;
  await verifier.verify(headers("k2", two.privateKey), body);
  for (let i = 0; i < 5; i++) await refused(headers("k3", one.privateKey), "key_unknown");
  assert.equal(asked, 2);
  now += 7200;
  away = true;
  await verifier.verify(headers("k1", one.privateKey), body); // what was published stays so
  now += 60;
  await refused(headers("k3", one.privateKey), "keys_unavailable");
  await assert.rejects(new Verifier(undefined, { scheme: "ed25519" }).verify(headers("k1", one.privateKey), body), /keys_missing/);
});
