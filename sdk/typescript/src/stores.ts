/**
 * Where an `Inbox` remembers what was done. With {@link SQLiteStore} and {@link PostgresStore} the handler's
 * writes and the memory are one transaction: a crash between them undoes both, and the event is done
 * again. With {@link MemoryStore} and {@link RedisStore} they are two: a crash between them lets the event be
 * done twice.
 *
 * @packageDocumentation
 */
import type { Outcome, Store } from "./inbox.js";
import { Full } from "./receive.js";

type Run<Tx> = (tx: Tx) => Promise<void>;

/** One after the other. */
class Turns {
  #last: Promise<unknown> = Promise.resolve();

  take<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work, work);
    this.#last = turn.catch(() => undefined);
    return turn;
  }
}

/** Remembers in this process, for tests and for receivers whose effects end with it. One event at a time. */
export class MemoryStore implements Store<undefined> {
  readonly #turns = new Turns();
  readonly #done = new Set<string>();
  readonly #positions = new Map<string, number>();

  async position(webhookId: string): Promise<number | undefined> {
    return this.#positions.get(webhookId);
  }

  once(webhookId: string, eventId: string, sequence: number, run: Run<undefined>): Promise<Outcome> {
    return this.#turns.take(async () => {
      const key = `${webhookId} ${eventId}`;
      if (this.#done.has(key)) return "duplicate";
      await run(undefined);
      this.#done.add(key);
      if (sequence > 0) this.#positions.set(webhookId, Math.max(sequence, this.#positions.get(webhookId) ?? 0));
      return "done";
    });
  }
}

const tables = [
  "CREATE TABLE IF NOT EXISTS atlas_inbox_events (webhook_id text NOT NULL, event_id text NOT NULL, done_at double precision NOT NULL, PRIMARY KEY (webhook_id, event_id))",
  "CREATE TABLE IF NOT EXISTS atlas_inbox_positions (webhook_id text PRIMARY KEY, sequence bigint NOT NULL)",
];

/** What is used of a SQLite database: better-sqlite3, node:sqlite and bun:sqlite have it. */
export interface SQLiteDatabase {
  exec(sql: string): unknown;
  prepare(sql: string): { run(...values: (string | number)[]): { changes: number | bigint }; get(...values: string[]): unknown };
}

/**
 * Remembers in SQLite. The handler gets the database, in a transaction of its own: nothing else may write
 * over this connection meanwhile. One event at a time.
 */
export class SQLiteStore<DB extends SQLiteDatabase> implements Store<DB> {
  readonly #turns = new Turns();
  readonly #db: DB;

  constructor(db: DB) {
    this.#db = db;
    db.exec("PRAGMA busy_timeout = 30000");
    for (const table of tables) db.exec(table);
  }

  async position(webhookId: string): Promise<number | undefined> {
    const row = this.#db.prepare("SELECT sequence FROM atlas_inbox_positions WHERE webhook_id = ?").get(webhookId) as { sequence: number } | undefined | null;
    return row?.sequence;
  }

  once(webhookId: string, eventId: string, sequence: number, run: Run<DB>): Promise<Outcome> {
    return this.#turns.take(async () => {
      this.#db.exec("BEGIN IMMEDIATE");
      try {
        const outcome = await this.#within(webhookId, eventId, sequence, run);
        this.#db.exec("COMMIT");
        return outcome;
      } catch (error) {
        this.#db.exec("ROLLBACK");
        throw error;
      }
    });
  }

  async #within(webhookId: string, eventId: string, sequence: number, run: Run<DB>): Promise<Outcome> {
    const claim = this.#db.prepare("INSERT INTO atlas_inbox_events VALUES (?, ?, ?) ON CONFLICT DO NOTHING");
    if (Number(claim.run(webhookId, eventId, Date.now() / 1000).changes) === 0) return "duplicate";
    await run(this.#db);
    if (sequence > 0) {
      this.#db
        .prepare("INSERT INTO atlas_inbox_positions VALUES (?, ?) ON CONFLICT (webhook_id) DO UPDATE SET sequence = max(sequence, excluded.sequence)")
        .run(webhookId, sequence);
    }
    return "done";
  }

  /** Forgets what was done longer ago than the server keeps its events. */
  async prune(days = 40): Promise<number> {
    return Number(this.#db.prepare("DELETE FROM atlas_inbox_events WHERE done_at < ?").run(Date.now() / 1000 - days * 86_400).changes);
  }
}

/** What is used of a connection of node-postgres. */
export interface PostgresClient {
  query(sql: string, values?: unknown[]): Promise<{ rows: any[]; rowCount: number | null }>;
  release(error?: Error | boolean): void;
}

/** Remembers in Postgres, by node-postgres: `new PostgresStore(() => pool.connect())`. The handler gets the connection, in a transaction. */
export class PostgresStore<C extends PostgresClient> implements Store<C> {
  readonly #connect: () => Promise<C>;
  #created: Promise<void> | undefined;

  constructor(connect: () => Promise<C>) {
    this.#connect = connect;
  }

  position(webhookId: string): Promise<number | undefined> {
    return this.#with(async (db) => {
      const { rows } = await db.query("SELECT sequence FROM atlas_inbox_positions WHERE webhook_id = $1", [webhookId]);
      return rows.length === 0 ? undefined : Number(rows[0].sequence);
    });
  }

  once(webhookId: string, eventId: string, sequence: number, run: Run<C>): Promise<Outcome> {
    return this.#transaction(async (db) => {
      // Who is at the same event waits here for its end.
      const claim = await db.query("INSERT INTO atlas_inbox_events VALUES ($1, $2, $3) ON CONFLICT DO NOTHING", [webhookId, eventId, Date.now() / 1000]);
      if (claim.rowCount === 0) return "duplicate";
      await run(db);
      if (sequence > 0) {
        await db.query(
          "INSERT INTO atlas_inbox_positions AS p VALUES ($1, $2) ON CONFLICT (webhook_id) DO UPDATE SET sequence = greatest(p.sequence, excluded.sequence)",
          [webhookId, sequence],
        );
      }
      return "done";
    });
  }

  /** Forgets what was done longer ago than the server keeps its events. */
  prune(days = 40): Promise<number> {
    return this.#with(async (db) => (await db.query("DELETE FROM atlas_inbox_events WHERE done_at < $1", [Date.now() / 1000 - days * 86_400])).rowCount ?? 0);
  }

  async #transaction<T>(work: (db: C) => Promise<T>): Promise<T> {
    return this.#with(async (db) => {
      await db.query("BEGIN");
      try {
        const result = await work(db);
        await db.query("COMMIT");
        return result;
      } catch (error) {
        await db.query("ROLLBACK");
        throw error;
      }
    });
  }

  async #with<T>(work: (db: C) => Promise<T>): Promise<T> {
    this.#created ??= this.#create();
    await this.#created;
    return this.#connected(work);
  }

  async #create(): Promise<void> {
    await this.#connected(async (db) => {
      await db.query("BEGIN");
      await db.query("SELECT pg_advisory_xact_lock(7237118)"); // who creates them at the same time
      for (const table of tables) await db.query(table);
      await db.query("COMMIT");
    }).catch((error: unknown) => {
      this.#created = undefined; // the next call tries again
      throw error;
    });
  }

  async #connected<T>(work: (db: C) => Promise<T>): Promise<T> {
    const db = await this.#connect();
    try {
      const result = await work(db);
      db.release();
      return result;
    } catch (error) {
      db.release(true); // whatever state it is in
      throw error;
    }
  }
}

/** What is used of a client of node-redis. */
export interface RedisClient {
  get(key: string): Promise<unknown>;
  sendCommand(args: string[]): Promise<unknown>;
}

/**
 * Remembers in Redis, by node-redis. A claim ends after `lease` seconds, should its process have crashed; a
 * handler takes less. What was done is forgotten after `days`, which should be longer than the server keeps
 * its events.
 */
export class RedisStore implements Store<undefined> {
  readonly #client: RedisClient;
  readonly #prefix: string;
  readonly #lease: number;
  readonly #kept: number;

  constructor(client: RedisClient, options: { prefix?: string; lease?: number; days?: number } = {}) {
    this.#client = client;
    this.#prefix = options.prefix ?? "atlas-inbox:";
    this.#lease = (options.lease ?? 60) * 1000;
    this.#kept = (options.days ?? 40) * 86_400_000;
  }

  async position(webhookId: string): Promise<number | undefined> {
    const value = await this.#client.get(`${this.#prefix}position:${webhookId}`);
    return value === null ? undefined : Number(value);
  }

  async once(webhookId: string, eventId: string, sequence: number, run: Run<undefined>): Promise<Outcome> {
    const key = `${this.#prefix}event:${webhookId}:${eventId}`;
    const token = Array.from(crypto.getRandomValues(new Uint32Array(2))).join("-");
    if ((await this.#client.sendCommand(["SET", key, token, "NX", "PX", String(this.#lease)])) === null) {
      if (String(await this.#client.get(key)) === "done") return "duplicate";
      throw new Full(1); // another process is at it
    }
    try {
      await run(undefined);
    } catch (error) {
      await this.#client.sendCommand(["EVAL", release, "1", key, token]);
      throw error;
    }
    await this.#client.sendCommand(["EVAL", finish, "2", key, `${this.#prefix}position:${webhookId}`, String(this.#kept), String(sequence)]);
    return "done";
  }
}

const release = "if redis.call('get', KEYS[1]) == ARGV[1] then redis.call('del', KEYS[1]) end";
const finish = `
redis.call('set', KEYS[1], 'done', 'px', ARGV[1])
if tonumber(ARGV[2]) > tonumber(redis.call('get', KEYS[2]) or '0') then redis.call('set', KEYS[2], ARGV[2]) end`;
