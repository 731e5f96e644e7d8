// A receiver as a process of its own, for the kill test: node receiver.js HOST FEED CRASHES. It prints its port.
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

import pg from "pg";

import { webhook } from "../src/express.js";
import { Client, Inbox, Verifier } from "../src/index.js";
import { PostgresStore } from "../src/stores.js";
import { secret } from "../src/testing.js";

const [host, feed, crashes] = process.argv.slice(2) as [string, string, string];
const crashing = new Set(crashes.split(",").map(Number));
const pool = new pg.Pool({ host, user: "postgres", database: "postgres" });
const log = new pg.Pool({ host, user: "postgres", database: "postgres" }); // outside of the transaction

const inbox = new Inbox(
  new PostgresStore(() => pool.connect()),
  async (event, db: pg.PoolClient) => {
    const { rows } = await log.query("INSERT INTO runs (sequence) VALUES ($1) RETURNING (SELECT count(*) FROM runs WHERE sequence = $1)::int AS before", [event.sequence]);
    await db.query("INSERT INTO effects (sequence) VALUES ($1)", [event.sequence]);
    if (crashing.has(event.sequence) && rows[0].before === 0) {
      if (event.sequence % 2 === 1) process.kill(process.pid, "SIGKILL");
      throw new Error("failed");
    }
  },
  { client: new Client(feed, "key", { retries: 0 }) },
);
const server = createServer(webhook(new Verifier(secret), inbox.take) as never);
server.listen(0, "127.0.0.1", () => console.log((server.address() as AddressInfo).port));
