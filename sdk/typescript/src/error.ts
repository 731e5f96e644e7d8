/** Names why a request was refused. */
export type Code =
  | "signature_missing"
  | "signature_mismatch" // body, timestamp, secret or scheme is not what was signed
  | "timestamp_missing"
  | "timestamp_malformed"
  | "timestamp_too_old" // genuine, but a repetition of an old request, or a clock is wrong
  | "timestamp_too_new"
  | "id_missing" // scheme "standard" only
  | "body_malformed" // genuine, but no event of this format
  | "body_too_large"
  | "body_unreadable" // the connection ended within the body, or its base64 is none
  | "secret_missing" // the verifier has none, or an empty one
  | "secret_malformed" // scheme "standard" only: none of the secrets can be one
  | "scheme_unknown"
  | "keys_missing" // scheme "ed25519" only, as the next: the verifier has no set of keys
  | "key_missing" // the request names none
  | "key_unknown" // it is not in the set
  | "keys_unavailable"; // the set cannot be fetched now

/** The answers other than 401. */
const statusOf: Partial<Record<Code, number>> = {
  body_too_large: 413,
  body_unreadable: 400,
  body_malformed: 422,
  secret_missing: 500,
  secret_malformed: 500,
  scheme_unknown: 500,
  keys_missing: 500,
  keys_unavailable: 503,
};

/** A request that was refused. It never holds a secret, or a signature that would verify. */
export class WebhookError extends Error {
  override readonly name = "WebhookError";
  /** Stable, for programs. */
  readonly code: Code;
  /** A sentence for people. */
  readonly detail: string;
  /** With `timestamp_too_old`, and negative with `timestamp_too_new`: how many seconds ago the request was signed. */
  readonly age: number | undefined;

  constructor(code: Code, detail: string, age?: number) {
    super(`${code}: ${detail}`);
    this.code = code;
    this.detail = detail;
    this.age = age;
  }

  /** The status to answer with: 401 unless the body or the verifier itself is at fault. */
  get status(): number {
    return statusOf[this.code] ?? 401;
  }
}
