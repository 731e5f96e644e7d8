import { fromBase64 } from "./base64.js";

let found: SubtleCrypto | undefined;

/** WebCrypto: global everywhere but in Node 18. */
export async function subtle(): Promise<SubtleCrypto> {
  if (found === undefined) {
    const module = "node:crypto"; // not seen by bundlers, whose targets have it global
    const crypto = globalThis.crypto ?? ((await import(module)) as { webcrypto: Crypto }).webcrypto;
    found = crypto.subtle;
  }
  return found;
}

/** A key that verifies by HMAC-SHA256. */
export async function importKey(raw: Uint8Array): Promise<CryptoKey> {
  return (await subtle()).importKey("raw", raw as BufferSource, { name: "HMAC", hash: "SHA-256" }, false, ["sign", "verify"]);
}

/**
 * The key of a Standard Webhooks signature: the decoded part of a secret that is whsec_ and the
 * canonical base64 of 24–64 bytes. Any other secret has none.
 */
export function standardKey(secret: string): Uint8Array | undefined {
  const key = secret.startsWith("whsec_") ? fromBase64(secret.slice(6)) : undefined;
  return key !== undefined && key.length >= 24 && key.length <= 64 ? key : undefined;
}
