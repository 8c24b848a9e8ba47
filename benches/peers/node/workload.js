'use strict';

// What all sides in Node.js do alike: the events, the callers, the clock, the check of what was read.
//
// A side is a script `node SIDE.js WORKLOAD EVENTS`, with the database in PEERS_URL and the data of
// events in PEERS_PAYLOAD. It prints {"events": N, "seconds": S, "in_order": B}.

const CALLERS = 16; // at a time in add16, and connections
const BULK = 100; // events of one call in bulk
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

/** Whether the numbers came in order; throws unless each event was read exactly once. */
function inOrder(read, events) {
  const ordered = read.every((n, index) => index === 0 || read[index - 1] < n);
  const sorted = [...read].sort((a, b) => a - b);
  if (sorted.length !== events || sorted.some((n, index) => n !== index)) {
    throw new Error(`${read.length} events read, not ${events}, or not each of them once`);
  }
  return ordered;
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
    const ordered = workload === 'poll' ? inOrder(read, events) : true;
    console.log(JSON.stringify({ events, seconds, in_order: ordered }));
    process.exit(0);
  } catch (error) {
    console.error(error);
    process.exit(1);
  }
}

module.exports = { BULK, CALLERS, TYPE, adding, data, main, timed };
