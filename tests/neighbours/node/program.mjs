// A program that writes a document under a lock of its own: `node program.mjs LOCK FILE`. It obeys lines on its input and
// answers each with a line: `count N` adds 1 to "theirs" N times; `hold` takes the lock and says so; `release` gives it back.
import fs from "node:fs";
import readline from "node:readline";
import { lockOf, save } from "./locks.mjs";

const [kind, file] = process.argv.slice(2);
const withLock = await lockOf(kind);
const say = (text) => fs.writeSync(1, `${text}\n`);

async function count(times) {
  let done = 0;
  let refused = 0;
  while (done < times) {
    try {
      await withLock(file, async (require) => {
        const state = JSON.parse(fs.readFileSync(file, "utf8"));
        await new Promise((resolve) => setImmediate(resolve));
        state.theirs = (state.theirs ?? 0) + 1;
        require();
        save(file, JSON.stringify(state));
      });
      done += 1;
    } catch (error) {
      if (error.code !== "EBUSY" && error.code !== "ECOMPROMISED") throw error;
      refused += 1;
      if (refused > 50 * times) break;
    }
  }
  say(`counted ${done} refused ${refused}`);
}

let letGo = () => {};

function hold() {
  return new Promise((resolve) => {
    withLock(file, () => {
      say("holding");
      resolve();
      return new Promise((end) => (letGo = end));
    }).then(
      () => say("released"),
      (error) => say(`lost ${error.code}`),
    );
  });
}

say("ready");
for await (const line of readline.createInterface({ input: process.stdin })) {
  const [word, argument] = line.split(" ");
  if (word === "count") await count(Number(argument));
  else if (word === "hold") await hold();
  else if (word === "release") letGo();
}
