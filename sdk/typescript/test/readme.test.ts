// The programs of README.md, and that of docs/verify.md, are right for the types that are published.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { test } from "node:test";

const verifier = 'import { Verifier } from "atlas-webhooks";\nconst verifier = new Verifier("secret");\n';
const express = 'import express from "express";\nconst app = express();\n';

/** What stands before each program, by what it is known by. */
const before: Record<string, string> = {
  "process.env.ATLAS": "",
  '"atlas-webhooks/fastify"': verifier + 'import fastify from "fastify";\nconst app = fastify();\n',
  '"atlas-webhooks/hono"': verifier + 'import { Hono } from "hono";\nconst app = new Hono();\n',
  '"atlas-webhooks/fetch"': verifier,
  '"atlas-webhooks/nestjs"': verifier + 'import type { Event } from "atlas-webhooks";\nimport { Controller, Post } from "@nestjs/common";\n',
  "PostgresStore(": verifier + express + 'import pg from "pg";\nconst pool = new pg.Pool();\nconst key = "awc_key";\n',
  "express.json()": verifier + express,
  publishBatch: 'const operatorKey = "awo_key";\n',
};

test("the programs of the README", () => {
  const blocks = [...readFileSync("README.md", "utf8").matchAll(/^```ts\n(.*?)^```/gms)].map((match) => match[1]!);
  rmSync("build/readme", { recursive: true, force: true });
  mkdirSync("build/readme", { recursive: true });
  const files = blocks.map((text, n) => {
    const markers = Object.keys(before).filter((marker) => text.includes(marker));
    assert.equal(markers.length, 1, text);
    const file = `build/readme/${n}.ts`;
    writeFileSync(file, before[markers[0]!] + text);
    return file;
  });
  assert.equal(files.length, Object.keys(before).length);
  const [, guide] = /^```ts \(package\)\n(.*?)^```/ms.exec(readFileSync("../../docs/verify.md", "utf8"))!;
  writeFileSync("build/readme/guide.ts", express + 'const secret = "secret";\n' + guide);
  files.push("build/readme/guide.ts");
  const tsc = spawnSync(process.execPath, [
    "node_modules/typescript/bin/tsc", "--noEmit", "--strict", "--target", "ES2022", "--module", "NodeNext", "--experimentalDecorators", "--skipLibCheck", "--ignoreConfig", "--types", "node", ...files,
  ]);
  assert.equal(tsc.status, 0, String(tsc.stdout));
});
