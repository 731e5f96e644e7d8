/**
 * Receives the webhooks that Atlas sends.
 *
 * Four things go wrong. The body must be the raw bytes that arrived. The key is the whole text of the
 * secret, `whsec_` included. The timestamp is signed as text. And the answer must come soon: take the
 * event, answer 2xx, work afterwards; an answer that is late causes the event to be sent again, with the
 * same id.
 *
 * @packageDocumentation
 */
export { Client, Problem, type ClientOptions, type FedEvent, type Publish, type Published } from "./client.js";
export { WebhookError, type Code } from "./error.js";
export type { Event, Format } from "./event.js";
export type { HeaderSource } from "./headers.js";
export { Inbox, type Gap, type InboxOptions, type Outcome, type Store } from "./inbox.js";
export { KeySet, type KeySetOptions } from "./keyset.js";
export { Full, type Handler } from "./receive.js";
export { ReplayGuard } from "./replay.js";
export { defaultMaxBody, defaultTolerance, verify, Verifier, type Body, type Scheme, type ServerlessRequest, type VerifierOptions } from "./verify.js";
