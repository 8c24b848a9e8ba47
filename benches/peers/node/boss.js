'use strict';

// pg-boss. Its upkeep (supervise, schedule) is off: it would only take time.

const { Pool } = require('pg');
const PgBoss = require('pg-boss');
const { CALLERS, adding, data, main, timed } = require('./workload');

const QUEUE = 'peers';
const BATCH = 1000;

async function start(workload, events) {
  const connectionString = process.env.PEERS_URL;
  const boss = new PgBoss({ connectionString, max: CALLERS, supervise: false, schedule: false });
  boss.on('error', (error) => console.error(error));
  await boss.start();
  await boss.createQueue(QUEUE);
  const pool = new Pool({ connectionString, max: 1 });
  await pool.query('CREATE TABLE own(n INTEGER)');

  const sent = (id) => {
    if (!id) {
      throw new Error('a job was not added');
    }
  };
  const addMany = (list) => boss.insert(list.map((n) => ({ name: QUEUE, data: data(n) })));
  if (workload === 'poll') {
    for (let first = 0; first < events; first += BATCH) {
      const length = Math.min(BATCH, events - first);
      await addMany(Array.from({ length }, (_, index) => first + index));
    }
    await pool.query('ANALYZE');
  }
  if (workload === 'add16') {
    await Promise.all(Array.from({ length: CALLERS }, () => boss.getQueueSize(QUEUE)));
  }

  return {
    ...adding({
      add: async (n) => sent(await boss.send(QUEUE, data(n))),
      addWithOwnRow: async (n) => {
        const client = await pool.connect();
        await client.query('BEGIN');
        await client.query('INSERT INTO own(n) VALUES ($1)', [n]);
        const db = { executeSql: (text, values) => client.query(text, values) };
        sent(await boss.send(QUEUE, data(n), { db }));
        await client.query('COMMIT');
        client.release();
      },
      addMany,
    }),
    poll: (_events, read) =>
      timed(async () => {
        for (;;) {
          const jobs = await boss.fetch(QUEUE, { batchSize: BATCH });
          if (!jobs.length) {
            return;
          }
          jobs.forEach((job) => read.push(job.data.n));
          await boss.complete(QUEUE, jobs.map((job) => job.id));
        }
      }),
  };
}

main(start);
