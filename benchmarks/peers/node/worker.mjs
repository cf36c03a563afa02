// One member of a benchmark's team, in Node: see src/storewriter/cli/bench/team.py for what it reads and says.
//
//   node worker.mjs <library> <mode> <path> <durable: true|false> <tasks>

import { readdirSync, readFileSync } from "node:fs";
import { open, readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { performance } from "node:perf_hooks";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

const [library, mode, path, durableText, tasksText] = process.argv.slice(2);
const durable = durableText === "true";
const PATIENCE_MS = 30_000;
const HEARTBEAT_MS = 2;
const RECORD_ID = "cm_000000";

const now = () => Number(process.hrtime.bigint()); // nanoseconds of the monotonic clock; exact below 104 days of uptime

function bump(state) {
  state.records[RECORD_ID].attempts += 1;
  return state;
}

// A store offers `update()` and `turn(body)`.

async function fsSafe(path) {
  const { jsonStore } = await import("@openclaw/fs-safe/store");
  const retry = { retries: 10_000, minTimeout: 1, maxTimeout: 50, randomize: true };
  const store = jsonStore({ filePath: path, durable, lock: { timeoutMs: PATIENCE_MS, retry } });
  return { update: () => store.update(bump), turn: (body) => store.update(async (state) => (await body(), state)) };
}

async function properLockfile(path) {
  const { default: lockfile } = await import("proper-lockfile");
  const { default: writeFileAtomic } = await import("write-file-atomic");
  const retries = { retries: 10_000, minTimeout: 1, maxTimeout: 50, randomize: true, maxRetryTime: PATIENCE_MS };

  async function turn(body) {
    const release = await lockfile.lock(path, { retries });
    try {
      return await body();
    } finally {
      await release();
    }
  }

  async function save() {
    const state = bump(JSON.parse(await readFile(path, "utf8")));
    await writeFileAtomic(path, JSON.stringify(state), { fsync: durable });
    if (durable) await flushFolder(dirname(path)); // the library flushes the file only
  }

  return { update: () => turn(save), turn };
}

async function flushFolder(folder) {
  const handle = await open(folder);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

// What a member does.

// Awaited before the end: of an answer that is longer than a pipe holds, the end of the process would cut off the rest.
const say = (text) => new Promise((done) => process.stdout.write(text + "\n", done));
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

async function caller(store, window, record) {
  let calls = 0;
  while (now() < window.stop && (window.limit === null || calls < window.limit)) {
    calls += 1;
    const began = now();
    try {
      await store.update();
    } catch (error) {
      fail(record, error);
      continue;
    }
    const ended = now();
    record.waits.push(ended - began);
    record.acknowledged += 1;
    if (ended <= window.stop) record.in_window += 1;
  }
}

function fail(record, error) {
  record.errors += 1;
  record.first_error ??= `${error.name}: ${error.message}`;
}

async function updates(store) {
  const records = Array.from({ length: Number(tasksText) }, () => (
    { waits: [], in_window: 0, acknowledged: 0, errors: 0, first_error: null }
  ));
  try {
    await store.update();
    records[0].acknowledged += 1;
  } catch (error) {
    fail(records[0], error);
  }
  say("ready");
  const window = JSON.parse((await lines.next()).value);
  await sleep(Math.max(0, (window.start - now()) / 1e6));
  const stalls = { worst: 0, over: false };
  const beating = heartbeat(stalls);
  const cpu = process.cpuUsage();
  await Promise.all(records.map((record) => caller(store, window, record)));
  const used = process.cpuUsage(cpu);
  stalls.over = true;
  await beating;
  return { callers: records, cpu: (used.user + used.system) * 1000, loop_stall: Math.round(stalls.worst * 1e6) };
}

async function heartbeat(stalls) {
  while (!stalls.over) {
    const began = performance.now();
    await sleep(HEARTBEAT_MS);
    stalls.worst = Math.max(stalls.worst, performance.now() - began - HEARTBEAT_MS);
  }
}

async function hold(store) {
  await store.turn(async () => {
    say("ready");
    await lines.next(); // until it is let go, or killed
  });
}

async function wait(store) {
  say("ready");
  for (let gaveUp = 0; ; gaveUp += 1) {
    try {
      const entered = await store.turn(now);
      return { entered: typeof entered === "number" ? entered : now(), gave_up: gaveUp };
    } catch {
      await sleep(10); // an error at once, again and again, must not keep the processor busy
    }
  }
}

// What is left of many stores that were touched once: `path` says where they are (see idle.py).

async function idle(openStore) {
  const { places, warm_up, seconds } = JSON.parse(readFileSync(path, "utf8"));
  await touch(openStore, places.slice(0, warm_up), seconds);
  const before = await footprint();
  const waits = await touch(openStore, places.slice(warm_up), seconds);
  const after = await footprint();
  return {
    waits, resident: after.resident - before.resident, descriptors: after.descriptors - before.descriptors, threads: 0,
  };
}

async function touch(openStore, places, seconds) {
  const waits = [];
  const stop = now() + seconds * 1e9;
  for (const place of places) {
    if (now() > stop) break;
    const began = now();
    const store = await openStore(place);
    await store.update();
    waits.push(now() - began);
  }
  return waits;
}

async function footprint() {
  await sleep(100); // what the last update has put off
  global.gc?.();
  return { resident: process.memoryUsage.rss(), descriptors: readdirSync("/proc/self/fd").length };
}

const openStore = { "fs-safe": fsSafe, "proper-lockfile": properLockfile }[library];
const seen = mode === "idle" ? await idle(openStore) : await { updates, hold, wait }[mode](await openStore(path));
await say(JSON.stringify(seen));
process.exit(0);
