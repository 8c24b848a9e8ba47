// The discarder deletes what every consumer has acknowledged, and nothing else.
import { Discarder } from 'futoin-eventstream-native';
import { openStream, print } from './example.mjs';

const stream = await openStream();
const audit = stream.consumer('Audit', { user: 'app' });
await audit.register();
const discarder = new Discarder(stream);

await stream.addEvent('USR_ADD', 1);
const second = await stream.addEvent('USR_ADD', 2);
await stream.addEvent('USR_ADD', 3);
console.log(`discarded ${await discarder.runOnce()}`); // or start(), for ever
await audit.acknowledge(second);
console.log(`discarded ${await discarder.runOnce()}`);
print('left', await audit.poll());
await discarder.close();
await stream.close();
