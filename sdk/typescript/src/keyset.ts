import { fromBase64 } from "./base64.js";
import { WebhookError } from "./error.js";
import { subtle } from "./keys.js";

export interface KeySetOptions {
  /** Seconds that the set is kept; an hour unless given. */
  maxAge?: number;
  /** Fetches the set; the platform's unless given. */
  fetch?: (url: string) => Promise<{ ok: boolean; status: number; json(): Promise<unknown> }>;
}

const pause = 10; // seconds between two fetches: strangers can name any key
const encoder = new TextEncoder();

/**
 * The public keys of the company whose webhooks a receiver gets, for the scheme `ed25519`. The URL is that
 * of the server's set with the company in it:
 * `https://hooks.example.com/.well-known/atlas-webhooks/jwks.json?company_id=c1`. Without the company the
 * set has the keys of all, and any of them could sign.
 *
 * It is fetched when it is needed first, kept for an hour, and fetched anew, once, for a key that is not
 * in it. It may be shared by verifiers.
 */
export class KeySet {
  readonly url: string;
  readonly #maxAge: number;
  readonly #fetch: NonNullable<KeySetOptions["fetch"]>;
  #keys = new Map<string, CryptoKey>();
  #fetched = -Infinity;
  #tried = -Infinity;
  #running: Promise<void> | undefined;

  constructor(url: string, options: KeySetOptions = {}) {
    this.url = url;
    this.#maxAge = options.maxAge ?? 3600;
    this.#fetch = options.fetch ?? ((target) => fetch(target, { signal: AbortSignal.timeout(10_000) }));
  }

  /** Whether a signature is by the key of an id. */
  async verify(kid: string, now: number, signature: Uint8Array, message: Uint8Array): Promise<boolean> {
    const key = await this.#key(kid, now);
    return (await subtle()).verify("Ed25519", key, signature as BufferSource, message as BufferSource);
  }

  async #key(kid: string, now: number): Promise<CryptoKey> {
    const known = this.#keys.get(kid);
    if (known !== undefined && now - this.#fetched < this.#maxAge) return known;
    if (this.#running === undefined && now - this.#tried >= pause) {
      this.#tried = now;
      this.#running = this.#refresh(now).finally(() => (this.#running = undefined));
    }
    try {
      await this.#running;
    } catch {
      if (known === undefined) throw new WebhookError("keys_unavailable", "the public keys cannot be fetched");
    }
    const key = this.#keys.get(kid);
    if (key === undefined) throw new WebhookError("key_unknown", `there is no public key ${JSON.stringify(kid.slice(0, 80))} in the set`);
    return key;
  }

  async #refresh(now: number): Promise<void> {
    const answer = await this.#fetch(this.url);
    if (!answer.ok) throw new Error(`answered ${answer.status}`);
    const document = (await answer.json()) as { keys?: unknown };
    const crypto = await subtle();
    const keys = new Map<string, CryptoKey>();
    for (const item of Array.isArray(document?.keys) ? (document.keys as Record<string, unknown>[]) : []) {
      const { kty, crv, kid, x } = item ?? {};
      if (kty !== "OKP" || crv !== "Ed25519" || typeof kid !== "string" || typeof x !== "string") continue;
      const raw = fromBase64(x.replace(/-/g, "+").replace(/_/g, "/") + "=");
      if (raw?.length === 32) keys.set(kid, await crypto.importKey("raw", raw as BufferSource, "Ed25519", false, ["verify"]));
    }
    if (keys.size === 0) throw new Error("there is no ed25519 key in the set");
    this.#keys = keys;
    this.#fetched = now;
  }
}

/** What a signature by the Standard Webhooks specification covers. */
export function standardMessage(id: string, seconds: string, body: Uint8Array): Uint8Array {
  const head = encoder.encode(`${id}.${seconds}.`);
  const message = new Uint8Array(head.length + body.length);
  message.set(head);
  message.set(body, head.length);
  return message;
}
