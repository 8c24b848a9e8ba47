'use strict';

// graphile-worker. It hands out jobs one by one; CALLERS of them are worked on at a time.

const { Pool } = require('pg');
const { Logger, makeWorkerUtils, runOnce } = require('graphile-worker');
const { CALLERS, adding, data, main, timed } = require('./workload');

const TASK = 'peers';
const MANY =
  'SELECT count(*) FROM graphile_worker.add_jobs(ARRAY(SELECT json_populate_record(' +
  'NULL::graphile_worker.job_spec, spec) FROM json_array_elements($1::json) AS spec))';

async function start(workload, events) {
  const pgPool = new Pool({ connectionString: process.env.PEERS_URL, max: CALLERS + 1 });
  const logger = new Logger(() => () => {});
  const utils = await makeWorkerUtils({ pgPool, logger });
  await utils.migrate();
  await pgPool.query('CREATE TABLE own(n INTEGER)');

  const addMany = (list) => {
    const specs = list.map((n) => ({ identifier: TASK, payload: data(n) }));
    return pgPool.query(MANY, [JSON.stringify(specs)]);
  };
  if (workload === 'poll') {
    await addMany(Array.from({ length: events }, (_, n) => n));
    await pgPool.query('ANALYZE');
  }
  if (workload === 'add16') {
    await Promise.all(Array.from({ length: CALLERS }, () => pgPool.query('SELECT 1')));
  }

  return {
    ...adding({
      add: (n) => utils.addJob(TASK, data(n)),
      addWithOwnRow: async (n) => {
        const client = await pgPool.connect();
        await client.query('BEGIN');
        await client.query('INSERT INTO own(n) VALUES ($1)', [n]);
        const add = 'SELECT graphile_worker.add_job($1, $2::json)';
        await client.query(add, [TASK, JSON.stringify(data(n))]);
        await client.query('COMMIT');
        client.release();
      },
      addMany,
    }),
    poll: (_events, read) =>
      timed(() =>
        runOnce({
          pgPool,
          logger,
          concurrency: CALLERS,
          noHandleSignals: true,
          taskList: { [TASK]: (payload) => void read.push(payload.n) },
        }),
      ),
  };
}

main(start);
