// Ends in the middle of everything that can wait. Arguments: HOW URL.
import { setTimeout as sleep } from 'node:timers/promises';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { EventStream, ReliableReceiver, setLog } from 'futoin-eventstream-native';

const [how, url] = isMainThread ? process.argv.slice(2) : [workerData.how, workerData.url];

/** Waits of every sort, none of which ends by itself. */
async function busy() {
    const stream = await EventStream.open(url);
    await stream.migrate();
    setLog(() => {}, 'trace');
    const audit = stream.consumer('Audit', { user: 'app' });
    await audit.register();
    await audit.poll({ lastId: (await stream.lag()).highestId ?? 0n });
    const waits = [audit.poll({ timeoutMs: Infinity }), (await stream.subscribe('LIVE')).next()];
    const receiver = new ReliableReceiver(stream, 'Mailer', { user: 'app' });
    receiver.on('events', () => new Promise(() => {})); // a delivery that is never done
    await new Promise((resolve) => receiver.once('ready', resolve));
    await stream.addEvent('USR_ADD', 1);
    await audit.poll({ lastId: (await stream.lag()).highestId });
    waits.push(audit.poll({ timeoutMs: Infinity }));
    const tx = await stream.begin();
    await tx.addEvent('USR_ADD', 2); // and a second writer that waits for the first, on SQLite
    waits.push(stream.addEvent('USR_ADD', 3));
    waits.forEach((wait) => wait.catch(() => {}));
    return { stream, receiver, tx };
}

async function main() {
    await busy();
    await sleep(50);
    if (how === 'exit') {
        process.exit(7);
    } else if (how === 'throw') {
        setImmediate(() => {
            throw new Error('meant to be uncaught');
        });
    } else if (how === 'reject') {
        Promise.reject(new Error('meant to be unhandled'));
    } else if (how === 'worker' && !isMainThread) {
        parentPort.postMessage('busy');
    } else if (how === 'worker-exit') {
        process.exit(3);
    }
}

/** Makes workers, and ends each in the middle. */
async function endWorkers() {
    for (let round = 0; round < 5; round++) {
        const worker = new Worker(new URL(import.meta.url), { workerData: { how, url } });
        worker.on('error', (error) => console.error(error));
        if (how === 'worker') {
            await new Promise((resolve) => worker.once('message', resolve));
            await worker.terminate();
        } else {
            await new Promise((resolve) => worker.once('exit', resolve));
        }
    }
    const stream = await EventStream.open(url); // all is well here
    console.log('highest', String((await stream.lag()).highestId));
    await stream.close();
}

await (isMainThread && how.startsWith('worker') ? endWorkers() : main());
