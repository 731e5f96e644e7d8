import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createServer, request as httpRequest } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import sqlite from "node-sqlite3-wasm";
import pg from "pg";
import { createClient } from "redis";

import { Full, Inbox, verify, WebhookError, type Event, type FedEvent, type Gap, type Store } from "../src/index.js";
import { MemoryStore, PostgresStore, RedisStore, SQLiteStore, type SQLiteDatabase } from "../src/stores.js";
import { delivery, secret } from "../src/testing.js";
import { startPostgres, startRedis } from "./servers.js";

const full = process.env["ATLAS_SDK_FULL"] === "1";

/** node-sqlite3-wasm with the methods of better-sqlite3. */
function openSQLite(): SQLiteDatabase {
  const db = new sqlite.Database();
  return {
    exec: (sql) => db.exec(sql),
    prepare: (sql) => ({ run: (...values) => db.run(sql, values), get: (...values) => db.get(sql, values) }),
  };
}

async function event(sequence: number, change: { webhookId?: string; id?: string } = {}): Promise<Event> {
  const { headers, body } = await delivery({ data: { id: `c-${sequence}` }, id: `evt_${sequence}`, webhookId: "wh_1", sequence: sequence || null, ...change });
  return verify(headers, body, secret);
}

/** A client whose server has some of a webhook's events. */
class Feed {
  asked: [string, number][] = [];
  readonly #sequences: number[];

  constructor(...sequences: number[]) {
    this.#sequences = sequences;
  }

  async *pull(webhookId: string, after = 0): AsyncGenerator<FedEvent> {
    this.asked.push([webhookId, after]);
    for (const n of this.#sequences) if (n > after) yield { sequence: n, id: `evt_${n}`, topic: "conversation.status", objectId: `c-${n}`, data: { id: `c-${n}` } };
  }
}

class Receiver {
  done: number[] = [];
  gaps: Gap[] = [];
  fails = new Set<number>();
  inbox: Inbox<any>;

  constructor(store: Store<any>, client?: Feed) {
    const handler = (e: Event) => {
      if (this.fails.has(e.sequence)) throw new Error("broken");
      this.done.push(e.sequence);
    };
    this.inbox = new Inbox(store, handler, { client, onGap: (gap) => this.gaps.push(gap) });
  }

  async take(...sequences: number[]): Promise<void> {
    for (const n of sequences) await this.inbox.take(await event(n));
  }
}

const postgres = startPostgres();
const redisServer = await startRedis();
const redis = redisServer && createClient({ socket: { path: redisServer.path, tls: false } });
const pool = postgres && new pg.Pool({ host: postgres.host, user: "postgres", database: "postgres" });

before(async () => {
  await redis?.connect();
});
after(async () => {
  redis?.destroy();
  redisServer?.stop();
  await pool?.end();
  postgres?.stop();
});

/** Opens an empty store; again, it remembers, as another process would see it. */
const stores: Record<string, () => Promise<() => Store<any>>> = {
  memory: async () => {
    const store = new MemoryStore();
    return () => store;
  },
  SQLite: async () => {
    const db = openSQLite();
    return () => new SQLiteStore(db);
  },
  ...(pool && {
    Postgres: async () => {
      await pool.query("DROP TABLE IF EXISTS atlas_inbox_events, atlas_inbox_positions");
      return () => new PostgresStore(() => pool.connect());
    },
  }),
  ...(redis && {
    Redis: async () => {
      await redis.flushAll();
      return () => new RedisStore(redis);
    },
  }),
};

for (const [name, start] of Object.entries(stores)) {
  describe(name, () => {
    test("once", async () => {
      const open = await start();
      const r = new Receiver(open());
      for (const e of [await event(1), await event(1), await event(1, { webhookId: "wh_2" }), await event(0, { id: "evt_t" }), await event(0, { id: "evt_t" })]) await r.inbox.take(e);
      assert.deepEqual(r.done, [1, 1, 0]);
      const again = new Receiver(open()); // after a restart
      await again.take(1, 2);
      assert.deepEqual([again.done, again.gaps], [[2], []]);
    });

    test("a failure releases", async () => {
      const open = await start();
      const r = new Receiver(open());
      r.fails.add(1);
      await assert.rejects(r.take(1), /broken/);
      assert.equal(await open().position("wh_1"), undefined);
      r.fails.clear();
      await r.take(1);
      assert.deepEqual([r.done, await open().position("wh_1")], [[1], 1]);
    });

    test("a gap is fetched in order", async () => {
      const feed = new Feed(1, 2, 3, 4, 5, 6);
      const r = new Receiver((await start())(), feed);
      await r.take(1, 4, 3, 2, 5); // 3 and 2 come late
      assert.deepEqual([r.done, feed.asked, r.gaps], [[1, 2, 3, 4, 5], [["wh_1", 1]], []]);
      assert.equal(await r.inbox.catchUp("wh_1"), 1);
      assert.equal(r.done.at(-1), 6);
    });

    test("a missing event that fails holds up", async () => {
      const r = new Receiver((await start())(), new Feed(1, 2, 3));
      await r.take(1);
      r.fails.add(2);
      await assert.rejects(r.take(3), /broken/);
      r.fails.clear();
      await r.take(3, 2);
      assert.deepEqual(r.done, [1, 2, 3]);
    });

    test("what the feed does not have is reported", async () => {
      const r = new Receiver((await start())(), new Feed(1, 4, 6));
      await r.take(1, 5, 9);
      assert.deepEqual(r.done, [1, 4, 5, 6, 9]);
      assert.deepEqual(r.gaps, [
        { webhookId: "wh_1", first: 2, last: 3, reason: "purged" },
        { webhookId: "wh_1", first: 7, last: 8, reason: "not there" },
      ]);
    });

    test("without a client a gap is reported", async () => {
      const r = new Receiver((await start())());
      await r.take(1, 4, 3, 5);
      assert.deepEqual([r.done, r.gaps], [[1, 4, 3, 5], [{ webhookId: "wh_1", first: 2, last: 3, reason: "no client" }]]);
      await assert.rejects(r.inbox.catchUp("wh_1"), TypeError);
    });

    test("two at one event", async () => {
      let leave!: () => void;
      let enter!: () => void;
      const inside = new Promise<void>((resolve) => (enter = resolve));
      const left = new Promise<void>((resolve) => (leave = resolve));
      let runs = 0;
      const inbox = new Inbox((await start())(), async () => {
        runs++;
        enter();
        await left;
      });
      const first = inbox.take(await event(1));
      await inside;
      const second = inbox.take(await event(1));
      if (name === "Redis") await assert.rejects(second, Full);
      leave();
      await Promise.all(name === "Redis" ? [first] : [first, second]);
      await inbox.take(await event(1));
      assert.equal(runs, 1);
    });
  });
}

test("an id that is not verified is refused", async () => {
  const { headers, body } = await delivery({ secret: "an imported secret" });
  const e = await verify(headers, body, "an imported secret");
  await assert.rejects(new Inbox(new MemoryStore(), () => undefined).take(e), (error) => error instanceof WebhookError && error.code === "id_missing");
  await new Inbox(new MemoryStore(), () => undefined, { unverifiedIds: true }).take(e);
});

test("effects are one with the memory", async () => {
  const db = openSQLite();
  let fails = true;
  const inbox = new Inbox(new SQLiteStore(db), (_event, tx) => {
    tx.exec("CREATE TABLE effect (n int)");
    if (fails) throw new Error("broken");
  });
  const e = await event(1);
  await assert.rejects(inbox.take(e), /broken/);
  fails = false;
  await inbox.take(e); // would fail if the table were there
});

test("a lease ends, what is old is forgotten", async () => {
  if (redis) {
    await redis.sendCommand(["SET", "atlas-inbox:event:wh_1:evt_lease", "of a process that crashed", "PX", "30"]);
    while (await redis.exists("atlas-inbox:event:wh_1:evt_lease")) await sleep(5);
    assert.equal(await new RedisStore(redis).once("wh_1", "evt_lease", 1, async () => undefined), "done");
  }
  const store = new SQLiteStore(openSQLite());
  await store.once("wh_1", "evt_1", 1, async () => undefined);
  assert.deepEqual([await store.prune(1), await store.prune(-1), await store.position("wh_1")], [0, 1, 1]);
});

// Events come out of order, by four senders; the receiver is killed in the midst of some, and fails at
// others. Each event takes effect once, all of them do, in order, and only those are repeated.
test("a receiver that is killed", { skip: !pool }, async () => {
  const total = full ? 5000 : 40;
  const crashes = full ? Array.from({ length: 50 }, (_, n) => 100 + n * 97) : [7, 12, 21, 30];
  await pool!.query("DROP TABLE IF EXISTS atlas_inbox_events, atlas_inbox_positions");
  await pool!.query("CREATE TABLE runs (sequence int); CREATE TABLE effects (at serial, sequence int)");
  const feed = createServer((request, response) => {
    const from = Number(/after=(\d+)/.exec(request.url!)![1]) + 1;
    const data = Array.from({ length: Math.max(0, Math.min(250, total + 1 - from)) }, (_, i) => ({
      sequence: from + i, event_id: `evt_${from + i}`, event: "conversation", object_id: null, data: { id: `c-${(from + i) % 5}` },
    }));
    response.end(JSON.stringify({ data, limit: 250, next_after: from }));
  });
  await new Promise<void>((resolve) => feed.listen(0, "127.0.0.1", resolve));
  let port = 0;
  const script = fileURLToPath(new URL("receiver.js", import.meta.url));
  let over = false;
  let stop = () => {};
  const supervisor = (async () => {
    while (!over) {
      const receiver = spawn(process.execPath, [script, postgres!.host, `http://127.0.0.1:${(feed.address() as AddressInfo).port}`, crashes.join()], { stdio: ["ignore", "pipe", "ignore"] });
      receiver.stdout.on("data", (line) => (port = Number(line)));
      stop = () => receiver.kill("SIGKILL");
      await new Promise((resolve) => receiver.on("exit", resolve));
    }
  })();

  const post = (headers: Record<string, string>, body: string) =>
    new Promise<number | undefined>((resolve) => {
      const request = httpRequest({ port, method: "POST", agent: false, headers }, (response) => response.resume().on("end", () => resolve(response.statusCode)).on("error", () => resolve(0)));
      request.on("error", () => resolve(0)).end(body);
    });
  const send = async (n: number) => {
    for (;;) {
      const { headers, body } = await delivery({ topic: "conversation", data: { id: `c-${n % 5}` }, id: `evt_${n}`, sequence: n, webhookId: "wh_1" });
      if ((await post(headers, body)) === 204) return;
      await sleep(20);
    }
  };
  try {
    await send(1); // the first begins the sequence
    const order = Array.from({ length: total - 1 }, (_, n) => n + 2).sort((a, b) => Math.floor(a / 6) - Math.floor(b / 6) || ((a * 7) % 5) - ((b * 7) % 5) || a - b);
    await Promise.all(Array.from({ length: 4 }, async () => {
      for (let n = order.shift(); n !== undefined; n = order.shift()) await send(n);
    }));
  } finally {
    over = true;
    stop();
    await supervisor;
    feed.close();
  }
  const effects = (await pool!.query("SELECT sequence FROM effects ORDER BY at")).rows.map((row) => row.sequence);
  assert.deepEqual(effects, Array.from({ length: total }, (_, n) => n + 1));
  const runs = (await pool!.query("SELECT sequence, count(*)::int AS times FROM runs GROUP BY 1 HAVING count(*) > 1 ORDER BY 1")).rows;
  assert.deepEqual(runs, crashes.map((sequence) => ({ sequence, times: 2 })));
});
