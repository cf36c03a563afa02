// The locks of programs on Node.js, each as `withLock(path, fn)`. Busy for too long: an error with the code EBUSY.
import fs from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const startTicks = (pid) => {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, "utf8");
    return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]);
  } catch {
    return null;
  }
};

const isDead = (pid) => {
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return error.code === "ESRCH";
  }
};

const busy = (error) => Object.assign(new Error(`busy: ${error.message}`), { code: "EBUSY" });

// proper-lockfile with its own defaults but for the retries.
async function properLockfile(options = {}) {
  const { default: lockfile } = await import("proper-lockfile");
  const settings = { retries: { retries: 400, factor: 1, minTimeout: 5, maxTimeout: 10 }, ...options };
  return async (file, fn) => {
    let release;
    let lost = null;
    try {
      release = await lockfile.lock(file, { ...settings, onCompromised: (error) => (lost = error) });
    } catch (error) {
      if (error.code === "ELOCKED") throw busy(error);
      throw error;
    }
    try {
      return await fn(() => {
        if (lost) throw lost;
      });
    } finally {
      if (!lost) await release().catch(() => {});
    }
  };
}

// @openclaw/fs-safe's file lock, as OpenClaw uses it: a dead owner's lock is removed, a live one's never.
async function fsSafe(version, retry, options = {}) {
  const { withFileLock } = await import(`fs-safe-${version}/file-lock`);
  const isStale = ({ payload }) => {
    if (!payload?.pid) return false;
    if (isDead(payload.pid)) return true;
    const ticks = startTicks(payload.pid);
    return payload.starttime !== undefined && ticks !== null && ticks !== payload.starttime;
  };
  return async (file, fn) => {
    try {
      return await withFileLock(
        file,
        {
          staleMs: 60_000,
          retry,
          payload: () => ({
            pid: process.pid,
            createdAt: new Date().toISOString(),
            starttime: startTicks(process.pid),
          }),
          shouldReclaim: isStale,
          staleRecovery: "remove-if-unchanged",
          shouldRemoveStaleLock: isStale,
          ...options,
        },
        () => fn(() => {}),
      );
    } catch (error) {
      if (error.code === "file_lock_timeout") throw busy(error);
      throw error;
    }
  };
}

// The lock of OpenClaw's stores before it used fs-safe: O_EXCL, then the record; stale by death, by another start time,
// or by age even if its owner lives; removed by path after a look at the inode.
function seed(retry, staleMs = 60_000) {
  const isStale = (lock) => {
    let record;
    try {
      record = JSON.parse(fs.readFileSync(lock, "utf8"));
    } catch {
      record = null;
    }
    if (typeof record?.pid === "number" && typeof record?.createdAt === "string") {
      if (isDead(record.pid)) return true;
      const ticks = startTicks(record.pid);
      if (record.startTime !== undefined && ticks !== null && ticks !== record.startTime) return true;
      return Date.now() - Date.parse(record.createdAt) > staleMs;
    }
    try {
      return Date.now() - fs.statSync(lock).mtimeMs > staleMs;
    } catch {
      return true;
    }
  };
  const acquire = async (file) => {
    const lock = `${fs.realpathSync(path.dirname(file))}/${path.basename(file)}.lock`;
    for (let attempt = 0; ; attempt += 1) {
      try {
        const handle = await fs.promises.open(lock, "wx");
        await handle.writeFile(
          JSON.stringify({
            pid: process.pid,
            createdAt: new Date().toISOString(),
            startTime: startTicks(process.pid),
          }),
        );
        await handle.close();
        return lock;
      } catch (error) {
        if (error.code !== "EEXIST") throw error;
        const inode = await fs.promises.stat(lock).then((found) => found.ino, () => -1);
        if (inode === -1) continue;
        if (isStale(lock)) {
          const now = await fs.promises.stat(lock).then((found) => found.ino, () => -1);
          if (now === inode) await fs.promises.rm(lock, { force: true });
          continue;
        }
        if (attempt >= retry.retries) throw busy(error);
        const base = Math.min(retry.maxTimeout, retry.minTimeout * retry.factor ** attempt);
        await sleep(Math.min(retry.maxTimeout, Math.round(base * (1 + Math.random()))));
      }
    }
  };
  return async (file, fn) => {
    const lock = await acquire(file);
    try {
      return await fn(() => {});
    } finally {
      await fs.promises.rm(lock, { force: true });
    }
  };
}

const reference = { retries: 6, factor: 1.35, minTimeout: 8, maxTimeout: 180, randomize: true };
const patient = { retries: 400, factor: 1, minTimeout: 5, maxTimeout: 10, randomize: true };

export async function lockOf(kind) {
  switch (kind) {
    case "proper-lockfile":
      return properLockfile();
    case "proper-lockfile-2s":
      return properLockfile({ stale: 2000 });
    case "fs-safe-0.3":
      return fsSafe("0.3", patient);
    case "fs-safe-0.21":
      return fsSafe("0.21", patient);
    case "fs-safe-0.21-reference":
      return fsSafe("0.21", reference);
    case "openclaw":
      return seed(patient);
    case "openclaw-reference":
      return seed(reference);
    case "openclaw-2s":
      return seed(patient, 2000);
    case "none":
      return (file, fn) => fn(() => {});
    default:
      throw new Error(`no such lock: ${kind}`);
  }
}

// A whole document takes the name, as write-file-atomic does it.
export function save(file, text) {
  const spare = `${file}.${process.pid}.spare`;
  fs.writeFileSync(spare, text);
  fs.renameSync(spare, file);
}
