// The archiver copies events to the warehouse.
import { Archiver, Warehouse } from 'futoin-eventstream-native';
import { openStream, print } from './example.mjs';

const stream = await openStream();
const warehouse = await Warehouse.open(process.argv[3] ?? 'sqlite::memory:');
await warehouse.migrate();
const archiver = new Archiver(stream, warehouse);

await stream.addEvent('USR_ADD', 1);
await stream.addEvent('USR_MOD', 1);
console.log(`archived ${await archiver.runOnce()}`); // or start(), for ever
print('history', await warehouse.history(1));

await stream.addEvent('USR_DEL', 1);
for await (const event of warehouse.replay(stream, { fromId: 1 })) {
    print('replay', [event]);
}
await archiver.close();
await warehouse.close();
await stream.close();
