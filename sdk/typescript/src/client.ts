/** An event that is to be published. */
export interface Publish {
  /** The topic. */
  event: string;
  /** The document, */
  data?: unknown;
  /** or its JSON text, which reaches receivers as it is written. */
  dataText?: string;
  /** Makes publishing again harmless. One is made if there is none; give one that you can make again after a crash. */
  id?: string;
  /** What the event is about; the data's top-level id unless given. */
  objectId?: string;
  occurredAt?: Date;
  /** The client's unless given. */
  company?: string;
}

/** An event that is on the server's disk. */
export interface Published {
  id: string;
  /** The same event was published before. */
  duplicate: boolean;
}

/** An event of a webhook's feed. */
export interface FedEvent {
  sequence: number;
  id: string;
  topic: string;
  objectId: string;
  data: unknown;
}

export interface ClientOptions {
  /** The company to act for, with an operator key. A company key has its own. */
  company?: string;
  /** How often a request is repeated at most: 4 unless given. */
  retries?: number;
  /** Milliseconds that bound each try: 30,000 unless given. */
  timeout?: number;
  fetch?: typeof fetch;
  /** Waits between two tries. */
  sleep?: (milliseconds: number) => Promise<unknown>;
}

/** An answer of the server that is an error (RFC 9457). `code` is stable, "" if something before the server answered. */
export class Problem extends Error {
  override readonly name = "Problem";

  constructor(
    readonly status: number,
    readonly code = "",
    readonly detail = "",
    readonly errors: readonly { field: string; code: string; detail: string }[] = [],
    readonly requestId = "",
    readonly retryAfter = 0,
  ) {
    super(`${code || "the server answered"} (${status})${detail && `: ${detail}`}`);
  }
}

const firstPause = 200;
const longestPause = 30_000;
const maxBatch = 1000;

/**
 * Calls a server. A request that failed for a passing reason is repeated, after a random pause that grows,
 * or after the time that the server asks for. That never publishes twice: events get their id before
 * they are sent.
 */
export class Client {
  readonly #url: string;
  readonly #key: string;
  readonly #options: ClientOptions;

  constructor(url: string, key: string, options: ClientOptions = {}) {
    if (!/^https?:\/\/./.test(url)) throw new TypeError(`${JSON.stringify(url)} is no address of a server, as https://hooks.example.com`);
    if (!key) throw new TypeError("there is no key");
    this.#url = url.replace(/\/+$/, "");
    this.#key = key;
    this.#options = options;
  }

  async publish(event: Publish): Promise<Published> {
    const { id, duplicate } = await this.#call<Published>("POST", "/v1/events", this.#line(event), "application/json");
    return { id, duplicate };
  }

  /** Publishes up to 1,000 events: all of them or none. */
  async publishBatch(events: readonly Publish[]): Promise<Published[]> {
    const lines = events.map((event) => this.#line(event)).join("\n");
    const answer = await this.#call<{ data: Published[] }>("POST", "/v1/events/batch", lines, "application/x-ndjson");
    return answer.data.map(({ id, duplicate }) => ({ id, duplicate }));
  }

  /** Publishes any number of events in batches, as the answers are read. Each batch is all or nothing. */
  async *publishAll(events: Iterable<Publish> | AsyncIterable<Publish>, batch = maxBatch): AsyncGenerator<Published> {
    let chunk: Publish[] = [];
    for await (const event of events) {
      chunk.push(event);
      if (chunk.length < batch) continue;
      yield* await this.publishBatch(chunk);
      chunk = [];
    }
    if (chunk.length > 0) yield* await this.publishBatch(chunk);
  }

  /** The events that a webhook matched, in sequence, after a sequence. It ends with the latest. */
  async *pull(webhookId: string, after = 0): AsyncGenerator<FedEvent> {
    interface Fed { sequence: number; event_id: string; event: string; object_id: string | null; data: unknown }
    for (;;) {
      const path = `/v1/webhooks/${encodeURIComponent(webhookId)}/events?after=${after}&limit=250`;
      const { data } = await this.#call<{ data: Fed[] }>("GET", path);
      if (data.length === 0) return;
      for (const e of data) {
        after = e.sequence;
        yield { sequence: e.sequence, id: e.event_id, topic: e.event, objectId: e.object_id ?? "", data: e.data };
      }
    }
  }

  #line(event: Publish): string {
    const head = {
      company_id: event.company ?? this.#options.company,
      event: event.event,
      id: event.id ?? newId(),
      object_id: event.objectId,
      occurred_at: event.occurredAt?.toISOString(),
    };
    let text = event.dataText;
    if (text === undefined) text = JSON.stringify(event.data ?? null);
    else JSON.parse(text);
    // Line breaks can only stand between values, and a line of NDJSON has none.
    return `${JSON.stringify(head).slice(0, -1)},"data":${text.replace(/[\r\n]/g, " ")}}`;
  }

  /** Makes tries until one succeeds or another one cannot help. All of our calls may be carried out twice. */
  async #call<T>(method: string, path: string, body?: string, contentType?: string): Promise<T> {
    const { retries = 4, sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms)) } = this.#options;
    for (let n = 0; ; n++) {
      let wait = 0;
      try {
        return (await this.#once(method, path, body, contentType)) as T;
      } catch (error) {
        if (error instanceof SyntaxError || n >= retries) throw error;
        if (error instanceof Problem) {
          const passing = [429, 502, 503, 504].includes(error.status) || error.code === "idempotency_in_progress";
          wait = error.retryAfter * 1000;
          if (!passing || wait > longestPause) throw error;
        }
      }
      const pause = Math.min(firstPause * 2 ** n, longestPause);
      await sleep(Math.max(wait, pause / 2 + (Math.random() * pause) / 2));
    }
  }

  async #once(method: string, path: string, body?: string, contentType?: string): Promise<unknown> {
    const headers: Record<string, string> = { authorization: `Bearer ${this.#key}`, "user-agent": "atlas-webhooks-typescript" };
    if (contentType !== undefined) headers["content-type"] = contentType;
    if (this.#options.company !== undefined) headers["x-atlas-company-id"] = this.#options.company;
    const response = await (this.#options.fetch ?? fetch)(this.#url + path, {
      method, headers, body: body ?? null,
      redirect: "manual", // a redirect would turn a POST into a GET
      signal: AbortSignal.timeout(this.#options.timeout ?? 30_000),
    });
    const text = await response.text();
    if (response.ok) return JSON.parse(text);
    throw problemOf(response, text);
  }
}

function problemOf(response: Response, text: string): Problem {
  const seconds = Number(response.headers.get("retry-after")) || 0;
  try {
    const said = JSON.parse(text);
    return new Problem(response.status, String(said.code ?? ""), String(said.detail ?? ""), said.errors ?? [], said.request_id ?? "", seconds);
  } catch {
    return new Problem(response.status, "", "", [], "", seconds);
  }
}

/** An id that sorts by time. */
function newId(): string {
  const random = crypto.getRandomValues(new Uint8Array(10));
  return `evt_${Date.now().toString(16).padStart(12, "0")}${Array.from(random, (c) => c.toString(16).padStart(2, "0")).join("")}`;
}
