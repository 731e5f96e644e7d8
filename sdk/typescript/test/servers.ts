// Databases as processes, started where they are installed.
import { execFileSync, spawn } from "node:child_process";
import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** Starts Postgres on a socket in a directory of its own, which is the host to connect to. Undefined where it is not installed. */
export function startPostgres(): { host: string; stop: () => void } | undefined {
  const root = "/usr/lib/postgresql";
  const versions = existsSync(root) ? readdirSync(root) : [];
  const bin = versions.map((v) => join(root, v, "bin")).find((dir) => existsSync(join(dir, "initdb")));
  if (bin === undefined) return undefined;
  const host = mkdtempSync(join(tmpdir(), "atlas-pg-"));
  const root_ = process.getuid!() === 0;
  if (root_) chownSync(host, Number(execFileSync("id", ["-u", "postgres"])), Number(execFileSync("id", ["-g", "postgres"])));
  const run = (command: string, ...args: string[]) =>
    execFileSync(root_ ? "runuser" : command, root_ ? ["-u", "postgres", "--", command, ...args] : args, { stdio: "ignore", cwd: host });
  const data = join(host, "data");
  run(join(bin, "initdb"), "-D", data, "-A", "trust", "-U", "postgres", "--no-sync");
  run(join(bin, "pg_ctl"), "-D", data, "-w", "-o", `-k ${host} -c listen_addresses=`, "-l", join(host, "log"), "start");
  return {
    host,
    stop: () => {
      run(join(bin, "pg_ctl"), "-D", data, "-w", "-m", "immediate", "stop");
      rmSync(host, { recursive: true });
    },
  };
}

/** Starts Redis on a socket. Undefined where it is not installed. */
export async function startRedis(): Promise<{ path: string; stop: () => void } | undefined> {
  if (!existsSync("/usr/bin/redis-server")) return undefined;
  const dir = mkdtempSync(join(tmpdir(), "atlas-redis-"));
  const path = join(dir, "s");
  const server = spawn("/usr/bin/redis-server", ["--port", "0", "--unixsocket", path, "--save", ""], { stdio: "ignore", cwd: dir });
  for (;;) {
    const up = await new Promise((resolve) => connect(path).on("connect", function (this: Socket) { this.destroy(); resolve(true); }).on("error", () => resolve(false)));
    if (up) break;
    if (server.exitCode !== null) throw new Error("Redis ended");
    await sleep(20);
  }
  return {
    path,
    stop: () => {
      server.kill("SIGKILL");
      rmSync(dir, { recursive: true });
    },
  };
}
