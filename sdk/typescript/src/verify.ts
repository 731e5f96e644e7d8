import { fromBase64, fromHex } from "./base64.js";
import { WebhookError } from "./error.js";
import { parseBody, readHeaders, type Event, type Format } from "./event.js";
import { reader, type Getter, type HeaderSource } from "./headers.js";
import { standardMessage, type KeySet } from "./keyset.js";
import { importKey, standardKey, subtle } from "./keys.js";
import { pythonRepr } from "./python.js";

/**
 * How a webhook's requests are signed: its `signature_scheme`, or `standard` for the webhook-* headers, `ed25519`
 * for their signature by a public key.
 */
export type Scheme = "hex" | "base64" | "base64-dotted" | "python-dict" | "standard" | "ed25519";

/** How many seconds the signed time may lie from now, in either direction. */
export const defaultTolerance = 300;

/** More bytes than Atlas sends: at most 1 MiB of body in its default configuration. */
export const defaultMaxBody = 4 << 20;

export interface VerifierOptions {
  /** The webhook's `signature_scheme`; "hex" unless given. */
  scheme?: Scheme;
  /** The webhook's `data_format`; each body tells unless it is given. */
  format?: Format;
  /** Seconds that the signed time may lie from now: 300 unless given; below 0 the time is not checked. */
  tolerance?: number;
  /** The public keys, of scheme "ed25519", which needs no secret. */
  keys?: KeySet;
  /** The clock, in seconds since the epoch. */
  now?: () => number;
  /** How many bytes of a body the adapters read. */
  maxBody?: number;
}

/** A serverless function's event: what API gateways, load balancers and function URLs pass. */
export interface ServerlessRequest {
  headers?: Readonly<Record<string, string | undefined>> | null;
  multiValueHeaders?: Readonly<Record<string, readonly string[] | undefined>> | null;
  body?: string | null;
  isBase64Encoded?: boolean;
}

/** What arrived: the raw body, before anything parsed it. */
export type Body = string | Uint8Array | ArrayBuffer;

interface Keys {
  atlas: CryptoKey[];
  standard: CryptoKey[];
}

/** What a verified signature vouches for. */
interface Signed {
  timestamp: string;
  at: number;
  signature: string;
}

const schemes: readonly string[] = ["hex", "base64", "base64-dotted", "python-dict", "standard", "ed25519"];
const maxSignatures = 16; // bounds the work that a stranger's header can cause; a rotation needs two
const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Verifies the requests of one webhook, or of several with the same scheme. The secrets are the
 * webhook's secret; several while a rotation runs, or for several webhooks: a request is genuine if one
 * of them signed it.
 *
 * It is not changed by its methods. It never throws when it is made: a missing secret is an error of
 * each request, so that a receiver starts and says so.
 */
export class Verifier {
  readonly scheme: Scheme;
  readonly format: Format | undefined;
  readonly tolerance: number;
  readonly now: () => number;
  readonly maxBody: number;
  readonly keys: KeySet | undefined;
  readonly #secrets: readonly string[];
  #keys: Promise<Keys> | undefined;

  constructor(secrets: string | readonly string[] | undefined | null, options: VerifierOptions = {}) {
    const given: readonly unknown[] = Array.isArray(secrets) ? secrets : [secrets];
    const usable = given.every((secret): secret is string => typeof secret === "string" && secret !== "");
    this.#secrets = usable ? (given as string[]) : [];
    this.scheme = options.scheme ?? "hex";
    this.format = options.format;
    this.tolerance = options.tolerance ?? defaultTolerance;
    this.now = options.now ?? (() => Date.now() / 1000);
    this.keys = options.keys;
    this.maxBody = options.maxBody ?? defaultMaxBody;
  }

  /**
   * Resolves to the event of a request whose signature is by one of the secrets and whose time is
   * within the tolerance. Rejects with a {@link WebhookError} and nothing else. The signature is
   * checked before the time, so that `timestamp_too_old` is said of genuine requests only.
   */
  async verify(headers: HeaderSource, body: Body): Promise<Event> {
    const keys = await this.#check();
    const get = reader(headers);
    const raw = bytes(body);
    const signed =
      this.scheme === "ed25519"
        ? await this.#verifyEd25519(get, raw)
        : this.scheme === "standard"
          ? await verifyStandard(keys, get, raw)
          : await this.#verifyAtlas(keys, get, raw);
    this.#checkTime(signed.at);
    const parsed = parseBody(text(raw), this.format);
    const standardId = get("webhook-id") ?? "";
    // Of the same signing as the Atlas header, so that nobody can put the genuine id of one request on
    // another that has the same body.
    const sameSecond = get("webhook-timestamp") === signed.timestamp.split(".")[0];
    const byStandard = this.scheme === "standard" || this.scheme === "ed25519";
    const idVerified = byStandard || (sameSecond && (await standardSignature(keys, get, raw)) !== undefined);
    return {
      ...parsed,
      signedAt: new Date(Math.min(signed.at * 1000, lastMillisecond)),
      id: idVerified ? standardId : (get("x-atlas-webhook-event-id") ?? standardId),
      idVerified,
      signature: signed.signature,
      ...readHeaders(get),
    };
  }

  /** Verifies the event of a serverless function. */
  async verifyServerless(request: ServerlessRequest): Promise<Event> {
    await this.#check();
    const { body, isBase64Encoded, ...rest } = request ?? {};
    if (!isBase64Encoded || typeof body !== "string") return this.verify(rest, body ?? "");
    const decoded = fromBase64(body);
    if (decoded === undefined) throw new WebhookError("body_unreadable", "the body is said to be base64 and is not");
    return this.verify(rest, decoded);
  }

  /** Finds what is wrong with the verifier itself. */
  async #check(): Promise<Keys> {
    if (this.scheme === "ed25519") {
      if (this.keys === undefined) throw new WebhookError("keys_missing", "no set of public keys was given");
      return { atlas: [], standard: [] };
    }
    if (this.#secrets.length === 0) {
      throw new WebhookError("secret_missing", "no secret was given, or an empty one, which would let anybody sign");
    }
    if (!schemes.includes(this.scheme)) throw new WebhookError("scheme_unknown", `there is no scheme ${JSON.stringify(this.scheme)}`);
    this.#keys ??= importKeys(this.#secrets);
    return this.#keys;
  }

  async #verifyAtlas(keys: Keys, get: Getter, raw: Uint8Array): Promise<Signed> {
    const signature = get("x-atlas-webhook-signature");
    if (!signature) throw new WebhookError("signature_missing", "the request has no X-Atlas-Webhook-Signature");
    const { timestamp, at } = readTimestamp(get, "X-Atlas-Webhook-Signature-Timestamp", "X-Atlas-Webhook-Timestamp");
    let body = raw;
    if (this.scheme === "python-dict") {
      const printed = pythonRepr(lenientText(raw));
      if (printed === undefined) throw new WebhookError("signature_mismatch", "the body cannot have been signed by this scheme");
      body = encoder.encode(printed);
    }
    const message = join(this.scheme === "base64" ? timestamp : `${timestamp}.`, body);
    const digest = this.scheme.startsWith("base64") ? fromBase64(signature) : fromHex(signature);
    if (digest === undefined || !(await signedByOne(keys.atlas, digest, message))) {
      throw new WebhookError("signature_mismatch", "no secret given here gives this signature for this timestamp and body");
    }
    return { timestamp, at, signature };
  }

  /** Checks the signatures v1a by the key that the request names. */
  async #verifyEd25519(get: Getter, raw: Uint8Array): Promise<Signed> {
    const signature = get("webhook-signature") ?? "";
    const parts = signature.split(/[ \t\r\n\v\f]+/);
    const given = parts.filter((part) => part.startsWith("v1a,")).map((part) => fromBase64(part.slice(4)));
    if (given.length === 0 || parts.length > maxSignatures) {
      throw new WebhookError("signature_missing", "the request has no signature v1a in webhook-signature");
    }
    const id = get("webhook-id");
    if (!id) throw new WebhookError("id_missing", "the request has no webhook-id");
    const kid = get("x-atlas-webhook-key-id");
    if (!kid) throw new WebhookError("key_missing", "the request has no X-Atlas-Webhook-Key-Id");
    const { timestamp, at } = readTimestamp(get, "webhook-timestamp");
    const message = standardMessage(id, timestamp, raw);
    for (const digest of given) {
      if (digest?.length === 64 && (await this.keys!.verify(kid, this.now(), digest, message))) return { timestamp, at, signature };
    }
    await this.keys!.verify(kid, this.now(), new Uint8Array(64), message); // an unknown key is said to be that
    throw new WebhookError("signature_mismatch", `the key ${JSON.stringify(kid.slice(0, 80))} did not give this signature for this id, timestamp and body`);
  }

  #checkTime(at: number): void {
    if (this.tolerance < 0) return;
    const age = this.now() - at;
    if (age > this.tolerance) {
      throw new WebhookError("timestamp_too_old", `it was signed ${age.toFixed(0)} s ago, more than ${this.tolerance} s`, age);
    }
    if (age < -this.tolerance) {
      throw new WebhookError("timestamp_too_new", `it was signed ${(-age).toFixed(0)} s in the future, more than ${this.tolerance} s`, age);
    }
  }
}

/** Verifies a request by the default scheme. See {@link Verifier.verify}. */
export function verify(headers: HeaderSource, body: Body, secrets: string | readonly string[] | undefined | null): Promise<Event> {
  return new Verifier(secrets).verify(headers, body);
}

const lastMillisecond = 8.64e15; // the last that Date knows

async function importKeys(secrets: readonly string[]): Promise<Keys> {
  const decoded = secrets.map(standardKey).filter((key) => key !== undefined);
  const [atlas, standard] = await Promise.all([
    Promise.all(secrets.map((secret) => importKey(encoder.encode(secret)))),
    Promise.all(decoded.map(importKey)),
  ]);
  return { atlas, standard };
}

async function verifyStandard(keys: Keys, get: Getter, raw: Uint8Array): Promise<Signed> {
  if (!get("webhook-signature")) throw new WebhookError("signature_missing", "the request has no webhook-signature");
  if (!get("webhook-id")) throw new WebhookError("id_missing", "the request has no webhook-id");
  const { timestamp, at } = readTimestamp(get, "webhook-timestamp");
  if (keys.standard.length === 0) {
    throw new WebhookError("secret_malformed", "a secret for the webhook-* headers is whsec_ and the base64 of 24–64 bytes");
  }
  const signature = await standardSignature(keys, get, raw);
  if (signature === undefined) {
    throw new WebhookError("signature_mismatch", "no secret given here gives a signature of webhook-signature for this id, timestamp and body");
  }
  return { timestamp, at, signature };
}

/** The signature of webhook-signature that is by one of the secrets. */
async function standardSignature(keys: Keys, get: Getter, raw: Uint8Array): Promise<string | undefined> {
  const id = get("webhook-id");
  const seconds = get("webhook-timestamp");
  const signatures = (get("webhook-signature") ?? "").split(/[ \t\r\n\v\f]+/).filter((part) => part !== "");
  if (!id || !seconds || signatures.length > maxSignatures || keys.standard.length === 0) return undefined;
  const message = join(`${id}.${seconds}.`, raw);
  const genuine = await Promise.all(
    signatures.map((signature) => {
      const digest = signature.startsWith("v1,") ? fromBase64(signature.slice(3)) : undefined;
      return digest !== undefined && signedByOne(keys.standard, digest, message);
    }),
  );
  return signatures.find((_, i) => genuine[i]);
}

/** Whether a digest is by one of the keys. The platform compares in constant time. */
async function signedByOne(keys: readonly CryptoKey[], digest: Uint8Array, message: Uint8Array): Promise<boolean> {
  const crypto = await subtle();
  const genuine = await Promise.all(keys.map((key) => crypto.verify("HMAC", key, digest as BufferSource, message as BufferSource)));
  return genuine.includes(true);
}

/** Reads the first of the named headers that the request has. */
function readTimestamp(get: Getter, ...names: [string, ...string[]]): { timestamp: string; at: number } {
  for (const name of names) {
    const timestamp = get(name.toLowerCase());
    if (timestamp === undefined) continue;
    if (!/^[0-9]{1,15}(\.[0-9]{1,15})?$/.test(timestamp)) {
      throw new WebhookError("timestamp_malformed", `${name} is ${JSON.stringify(timestamp.slice(0, 40))}, not seconds since the epoch`);
    }
    return { timestamp, at: Number(timestamp) };
  }
  throw new WebhookError("timestamp_missing", `the request has no ${names[0]}`);
}

function bytes(body: unknown): Uint8Array {
  if (typeof body === "string") return encoder.encode(body);
  if (body instanceof Uint8Array) return body;
  if (body instanceof ArrayBuffer) return new Uint8Array(body);
  if (ArrayBuffer.isView(body)) return new Uint8Array(body.buffer, body.byteOffset, body.byteLength);
  throw new WebhookError("body_unreadable", `the body is ${body === null ? "null" : typeof body}, not the bytes or the text that arrived`);
}

function text(raw: Uint8Array): string {
  try {
    return decoder.decode(raw);
  } catch {
    throw new WebhookError("body_malformed", "the body is genuine but no JSON object with event and data");
  }
}

function lenientText(raw: Uint8Array): string {
  try {
    return decoder.decode(raw);
  } catch {
    return "";
  }
}

function join(head: string, body: Uint8Array): Uint8Array {
  const start = encoder.encode(head);
  const message = new Uint8Array(start.length + body.length);
  message.set(start);
  message.set(body, start.length);
  return message;
}
