'use strict';

// The npm package futoin-eventstream, in process, as its README sets it up. The tables, and the
// events that a reading workload finds, are made by `peers prepare`: both work on the same ones.

const $as = require('futoin-asyncsteps');
const { AdvancedCCM } = require('futoin-invoker');
const { Executor, SecurityProvider } = require('futoin-executor');
const DBAutoConfig = require('futoin-database/AutoConfig');
const DBEventArchiver = require('futoin-eventstream/DBEventArchiver');
const DBEventDiscarder = require('futoin-eventstream/DBEventDiscarder');
const DBGenFace = require('futoin-eventstream/DBGenFace');
const DBGenService = require('futoin-eventstream/DBGenService');
const DBPushService = require('futoin-eventstream/DBPushService');
const PushFace = require('futoin-eventstream/PushFace');
const { CALLERS, TYPE, adding, data, main, readWhileOthersWrite, timed } = require('./workload');

// The consumer that `peers prepare` has registered.
const USER = 'peers';
const COMPONENT = 'Reader';

/** The environment that DBAutoConfig reads. */
function environment(name, address) {
  if (address.startsWith('sqlite:')) {
    return { [`DB_${name}_TYPE`]: 'sqlite', [`DB_${name}_SOCKET`]: address.slice('sqlite://'.length) };
  }
  const url = new URL(address);
  return {
    [`DB_${name}_TYPE`]: url.protocol === 'mysql:' ? 'mysql' : 'postgresql',
    [`DB_${name}_HOST`]: url.hostname,
    [`DB_${name}_PORT`]: url.port,
    [`DB_${name}_USER`]: url.username,
    [`DB_${name}_PASS`]: url.password,
    [`DB_${name}_DB`]: url.pathname.slice(1),
    [`DB_${name}_MAXCONN`]: String(CALLERS),
  };
}

/** Runs steps of FutoIn, and resolves with their result. */
const run = (steps) =>
  new Promise((resolve, reject) => {
    $as()
      .add(steps, (as, error) => reject(new Error(`${error}: ${as.state.error_info}`)))
      .add((as, result) => resolve(result))
      .execute();
  });

/** Who calls is believed, and is the user. */
class Believer extends SecurityProvider {
  checkAuth(as, reqinfo, _message, [user]) {
    this._setUser(as, reqinfo, reqinfo.SL_SAFE_OPS, { local_id: user, global_id: user });
  }
}

/** Seconds until a worker has told of all events. */
const worked = (worker, event, events, start) =>
  timed(
    () =>
      new Promise((resolve, reject) => {
        let done = 0;
        const failed = (error, info) => reject(new Error(`${error}: ${info}`.slice(0, 300)));
        worker.on('workerError', failed);
        if (worker instanceof DBEventArchiver) {
          worker.on('receiverError', failed);
        }
        worker.on(event, (count) => {
          done += count;
          if (done === events) {
            resolve();
          }
        });
        start();
      }),
  );

async function start(workload) {
  const ccm = new AdvancedCCM();
  const executor = new Executor(ccm, { securityProvider: new Believer() });
  executor.on('notExpected', (error, info) => console.error(error, info));
  const config = environment('EVT', process.env.PEERS_URL);
  const databases = { evt: {} };
  if (workload === 'archive') {
    Object.assign(config, environment('EVTDWH', process.env.PEERS_DWH_URL));
    databases.evtdwh = {};
  }
  await run((as) => {
    DBAutoConfig(as, ccm, databases, config);
    as.add((as) => {
      DBPushService.register(as, executor);
      DBGenService.register(as, executor);
      DBGenFace.register(as, ccm, 'gen', executor);
      PushFace.register(as, ccm, 'poll', executor, `${USER}:password`);
    });
  });

  const database = ccm.db('evt');
  const gen = ccm.iface('gen');
  const add = (n) => run((as) => gen.addEvent(as, TYPE, data(n)));
  let last = null;
  const chunk = async (read) => {
    const events = await run((as) => ccm.iface('poll').pollEvents(as, COMPONENT, last, null));
    events.forEach((event) => read.push(event.data.n));
    last = events.length ? events[events.length - 1].id : last;
  };
  const xfer = (fill) =>
    run((as) => {
      const transaction = database.newXfer();
      fill(transaction);
      transaction.execute(as);
    });

  await Promise.all(Array.from({ length: workload === 'add16' ? CALLERS : 1 }, () =>
    run((as) => database.query(as, 'SELECT 1 AS one'))));

  return {
    ...adding({
      add,
      addWithOwnRow: (n) =>
        xfer((transaction) => {
          transaction.insert('own', { affected: 1 }).set('n', n);
          gen.addXferEvent(transaction, TYPE, data(n));
        }),
      addMany: (list) =>
        xfer((transaction) => list.forEach((n) => gen.addXferEvent(transaction, TYPE, data(n)))),
    }),
    poll: (_events, read) =>
      timed(async () => {
        for (let before = -1; before !== read.length; ) {
          before = read.length;
          await chunk(read);
        }
      }),
    // Who polls a serializable transaction must try it again.
    overlap: (events, read) =>
      readWhileOthersWrite(events, read, () => chunk(read).catch(() => {})),
    archive: (events) => {
      const archiver = new DBEventArchiver(ccm);
      return worked(archiver, 'processedEvents', events, () => archiver.start(executor, null));
    },
    discard: (events) => {
      const discarder = new DBEventDiscarder();
      return worked(discarder, 'eventDiscard', events, () => discarder.start(ccm));
    },
  };
}

main(start);
