import type { Client, FedEvent } from "./client.js";
import { WebhookError } from "./error.js";
import type { Event } from "./event.js";

export type Outcome = "done" | "duplicate";

/** Remembers what was done, for all processes of a receiver. `Tx` is what a handler's effects are written with. */
export interface Store<Tx> {
  /** The highest sequence of a webhook's events that were done, undefined before the first. */
  position(webhookId: string): Promise<number | undefined>;
  /**
   * Calls `run` unless the event was done before, and remembers that it is done. If `run` rejects, nothing
   * is remembered. While another call is at the same event, it waits for that one's end or rejects with
   * `Full`. `run` gets what its effects can be written with so that they and the memory are one.
   */
  once(webhookId: string, eventId: string, sequence: number, run: (tx: Tx) => Promise<void>): Promise<Outcome>;
}

/** Sequences of a webhook, from first to last, that were neither sent nor to be had so far. */
export interface Gap {
  webhookId: string;
  first: number;
  last: number;
  reason: "no client" | "purged" | "not there";
}

export interface InboxOptions {
  /** Fetches what is missing from the server's feed. */
  client?: Pick<Client, "pull">;
  onGap?: (gap: Gap) => unknown;
  /** Takes events whose id nobody vouches for, of secrets that cannot verify it. */
  unverifiedIds?: boolean;
}

/**
 * Passes each event on once, and in the order of the webhook's sequence.
 *
 * `handler(event, tx)` is called within the store's transaction `tx`: what it writes there happens once,
 * whatever crashes. `take` is the handler for an adapter. Events that come again are ignored.
 *
 * The sequence of each webhook is watched. Where an event is missing, `client` fetches it from the
 * server's feed before the one that came, so that the order holds; an event whose handler fails holds up
 * those behind it until it succeeds. Without a client what is missing is passed to `onGap` and not waited
 * for: should it come later, it is done then. `onGap` also hears what the feed no longer has.
 *
 * The first event of a webhook that the store sees begins its sequence.
 */
export class Inbox<Tx> {
  readonly #store: Store<Tx>;
  readonly #handler: (event: Event, tx: Tx) => unknown;
  readonly #options: InboxOptions;

  constructor(store: Store<Tx>, handler: (event: Event, tx: Tx) => unknown, options: InboxOptions = {}) {
    this.#store = store;
    this.#handler = handler;
    this.#options = options;
  }

  /**
   * Does an event, and before it those that are missing. Resolves when it is done, now or before; rejects
   * with what the handler throws: then the event is to come again. An event whose id is not verified is
   * refused, because a repetition under another id would count as new.
   */
  take = async (event: Event): Promise<void> => {
    if (!event.idVerified && !this.#options.unverifiedIds) {
      throw new WebhookError("id_missing", "webhook-signature does not vouch for the event's id: allow unverifiedIds, or use a secret of whsec_ and base64");
    }
    if (event.sequence > 0) await this.#catchUp(event);
    await this.#once(event);
  };

  /** Does what the feed has and this receiver has not, as after an outage. Resolves to how many. */
  async catchUp(webhookId: string): Promise<number> {
    if (this.#options.client === undefined) throw new TypeError("there is no client to fetch with");
    let done = 0;
    const position = (await this.#store.position(webhookId)) ?? 0;
    for await (const event of this.#feed(this.#options.client, webhookId, position)) {
      if ((await this.#once(event)) === "done") done++;
    }
    return done;
  }

  async #catchUp(event: Event): Promise<void> {
    const { client, onGap } = this.#options;
    const position = await this.#store.position(event.webhookId);
    if (position === undefined || event.sequence <= position + 1) return;
    if (client === undefined) {
      await onGap?.({ webhookId: event.webhookId, first: position + 1, last: event.sequence - 1, reason: "no client" });
      return;
    }
    for await (const missing of this.#feed(client, event.webhookId, position, event.sequence)) await this.#once(missing);
  }

  /** The feed's events between two sequences. Holes in it are reported. */
  async *#feed(client: Pick<Client, "pull">, webhookId: string, position: number, until?: number): AsyncGenerator<Event> {
    const { onGap } = this.#options;
    let next = position + 1;
    for await (const fed of client.pull(webhookId, position)) {
      const last = until === undefined ? fed.sequence : Math.min(fed.sequence, until);
      if (last > next && (position > 0 || until !== undefined)) await onGap?.({ webhookId, first: next, last: last - 1, reason: "purged" });
      next = fed.sequence + 1;
      if (until !== undefined && fed.sequence >= until) return;
      yield eventOf(webhookId, fed);
    }
    if (until !== undefined && next < until) await onGap?.({ webhookId, first: next, last: until - 1, reason: "not there" });
  }

  #once(event: Event): Promise<Outcome> {
    return this.#store.once(event.webhookId, event.id, event.sequence, async (tx) => {
      await this.#handler(event, tx);
    });
  }
}

/** An event of the feed: what the server says over a connection that it is known by. */
function eventOf(webhookId: string, fed: FedEvent): Event {
  return {
    topic: fed.topic, data: fed.data, dataText: JSON.stringify(fed.data), signedAt: new Date(), id: fed.id, idVerified: true,
    signature: "", webhookId, objectId: fed.objectId, attempt: 0, sequence: fed.sequence, test: false, replay: "",
  };
}
