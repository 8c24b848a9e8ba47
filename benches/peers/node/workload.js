'use strict';

// What all sides in Node.js do alike: the events, the callers, the clock, the check of what was read.
//
// A side is a script `node SIDE.js WORKLOAD EVENTS`, with the database in PEERS_URL and the data of
// events in PEERS_PAYLOAD. It prints the same result as the Rust side (rust/workload.rs).

const CALLERS = 16; // at a time in add16, and connections
const BULK = 100; // events of one call in bulk
const IDLE = 2; // seconds: a reader that got nothing for so long has got all that it ever will
const TYPE = 'BENCH';
const PAYLOAD = JSON.parse(process.env.PEERS_PAYLOAD);

const data = (n) => ({ ...PAYLOAD, n });

/** The numbers from `first`, `count` of them, but below `end`. */
const numbers = (first, count, end) => {
  const length = Math.max(0, Math.min(first + count, end) - first);
  return Array.from({ length }, (_, index) => first + index);
};

/** Seconds that `work` takes. */
async function timed(work) {
  const start = process.hrtime.bigint();
  await work();
  return Number(process.hrtime.bigint() - start) / 1e9;
}

/** Calls `add` for each number, one after the other. */
async function oneByOne(list, add) {
  for (const n of list) {
    await add(n);
  }
}

/** The workloads that add, from `add(n)`, `addWithOwnRow(n)` and `addMany(numbers)`. */
const adding = ({ add, addWithOwnRow, addMany }) => ({
  add: (events) => timed(() => oneByOne(numbers(0, events, events), add)),
  add16: (events) =>
    timed(async () => {
      const share = Math.ceil(events / CALLERS);
      const caller = (_, number) => oneByOne(numbers(number * share, share, events), add);
      await Promise.all(Array.from({ length: CALLERS }, caller));
    }),
  tx: (events) => timed(() => oneByOne(numbers(0, events, events), addWithOwnRow)),
  bulk: (events) =>
    timed(async () => {
      for (let first = 0; first < events; first += BULK) {
        await addMany(numbers(first, BULK, events));
      }
    }),
});

/** Calls `read` until all events came, or none came for `IDLE`, while others write. */
const readWhileOthersWrite = (events, read, chunk) =>
  timed(async () => {
    for (let last = Date.now(); new Set(read).size < events && Date.now() - last < IDLE * 1000; ) {
      const before = read.length;
      await chunk();
      if (read.length > before) {
        last = Date.now();
      } else {
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
    }
  });

/** How the numbers came; throws unless each came once, but in overlap. */
function check(workload, events, read) {
  const distinct = new Set(read).size;
  const [lost, repeated] = [events - distinct, read.length - distinct];
  if (lost + repeated > 0 && workload !== 'overlap') {
    throw new Error(`${lost} events lost, ${repeated} repeated`);
  }
  const ordered = read.every((n, index) => index === 0 || read[index - 1] < n);
  return { in_order: workload === 'overlap' || ordered, lost, repeated };
}

/** Runs the workload of the command line: `start` gives the workloads by name. */
async function main(start) {
  const [workload, count] = process.argv.slice(2);
  const events = Number(count);
  try {
    const workloads = await start(workload, events);
    if (!workloads[workload]) {
      throw new Error(`unknown workload ${workload}`);
    }
    const read = [];
    const seconds = await workloads[workload](events, read);
    const reads = ['poll', 'overlap'].includes(workload);
    const checked = reads ? check(workload, events, read) : { in_order: true, lost: 0, repeated: 0 };
    console.log(JSON.stringify({ events, seconds, ...checked }));
    process.exit(0);
  } catch (error) {
    console.error(error);
    process.exit(1);
  }
}

module.exports = { BULK, CALLERS, TYPE, adding, data, main, readWhileOthersWrite, timed };
