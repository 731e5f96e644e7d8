import type { Event } from "./event.js";
import { defaultTolerance } from "./verify.js";

/**
 * Remembers in memory which requests were taken, so that none is taken twice.
 *
 * A request is known by its webhook and id where webhook-signature vouches for the id, else by its
 * signature. `seconds` should be twice the verifier's tolerance at least: an older request is refused
 * anyway. `most` bounds the memory: beyond it the oldest is forgotten. Several processes each have their
 * own, which ends with them.
 */
export class ReplayGuard {
  readonly #seconds: number;
  readonly #most: number;
  readonly #now: () => number;
  readonly #taken = new Map<string, number>(); // in the order of time

  constructor(options: { seconds?: number; most?: number; now?: () => number } = {}) {
    this.#seconds = options.seconds ?? 2 * defaultTolerance;
    this.#most = options.most ?? 100_000;
    this.#now = options.now ?? (() => Date.now() / 1000);
  }

  /** Whether the event's request was not taken before. It is taken now. */
  first(event: Event): boolean {
    const now = this.#now();
    this.#forgetOld(now);
    if (identity(event).some((key) => this.#taken.has(key))) return false;
    for (const key of keys(event)) this.#taken.set(key, now);
    return true;
  }

  /** Lets the event come again, because its handler failed. */
  forget(event: Event): void {
    for (const key of keys(event)) this.#taken.delete(key);
  }

  #forgetOld(now: number): void {
    for (const [key, at] of this.#taken) {
      if (this.#taken.size < this.#most && at > now - this.#seconds) return;
      this.#taken.delete(key);
    }
  }
}

/**
 * What an event must not have in common with one that was taken. Two events of the same text, signed in
 * the same millisecond, have one signature, so it counts for itself only where the id is not verified.
 * With the id it tells a request that is repeated under the name of another webhook, which nobody signs.
 */
function identity(event: Event): string[] {
  if (!event.idVerified) return [event.signature];
  return [`${event.id} ${event.signature}`, `${event.id} ${event.webhookId}`];
}

function keys(event: Event): string[] {
  return [event.signature, ...identity(event)]; // the signature, should it be repeated without its id
}
