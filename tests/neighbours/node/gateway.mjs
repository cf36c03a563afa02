// An OpenClaw gateway's part of the commitments store: `node gateway.mjs LOCK FILE`. Until its input ends it counts an
// attempt on the record "pulse", under its own lock, and at the end says how many.
import fs from "node:fs";
import { lockOf, save } from "./locks.mjs";

const [kind, file] = process.argv.slice(2);
const withLock = await lockOf(kind);
let attempts = 0;
let busy = 0;
let isOver = false;
process.stdin.on("end", () => (isOver = true)).resume();
fs.writeSync(1, "ready\n");
while (!isOver) {
  try {
    await withLock(file, async () => {
      const document = JSON.parse(fs.readFileSync(file, "utf8"));
      const pulse = document.commitments.find((record) => record.id === "pulse");
      await new Promise((resolve) => setTimeout(resolve, 2));
      pulse.attempts += 1;
      save(file, `${JSON.stringify(document, null, 2)}\n`);
    });
    attempts += 1;
  } catch (error) {
    if (error.code !== "EBUSY") throw error;
    busy += 1;
  }
  await new Promise((resolve) => setTimeout(resolve, 2));
}
fs.writeSync(1, `attempts ${attempts} busy ${busy}\n`);
