// All together: the service app archives and discards, while a transaction adds and a consumer reads.
import { ServiceApp } from 'futoin-eventstream-native';
import { print } from './example.mjs';

const [, , url = 'sqlite::memory:', warehouseUrl = 'sqlite::memory:'] = process.argv;
const app = await ServiceApp.open(url, warehouseUrl, { enableDiscarder: true });
await app.migrate();
let archived = 0;
const all = new Promise((resolve) => {
    app.on('notice', ({ kind, number }) => {
        archived += kind === 'ProcessedEvents' ? Number(number) : 0;
        if (archived === 2) {
            resolve(undefined);
        }
    });
});
app.on('error', (error) => console.error(error)); // it goes on after those
await app.start();

const audit = app.stream.consumer('Audit', { user: 'app' });
await audit.register();
await app.stream.transaction(async (tx) => {
    await tx.addEvent('USR_ADD', { name: 'Ann' });
    await tx.addEvent('USR_MOD', { name: 'Ann' });
});

const events = await audit.poll({ timeoutMs: 10000 });
print('audit', events);
await audit.acknowledge(events[events.length - 1].id);
await all;
console.log(`archived ${archived}`);
await app.close();
