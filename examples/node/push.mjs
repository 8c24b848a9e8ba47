// Events as they come: taken from a subscription, or given to a listener.
import { ReliableReceiver } from 'futoin-eventstream-native';
import { openStream, print } from './example.mjs';

const stream = await openStream();
await stream.consumer('Audit', { user: 'app' }).register();
await stream.addEvent('USR_ADD', 1);

const subscription = await stream.subscribe('Audit', { user: 'app' });
for await (const { events } of subscription) {
    print('subscription', events);
    break; // one is enough here
}
await subscription.close();

const receiver = new ReliableReceiver(stream, 'Mailer', { user: 'app' }); // registers itself
receiver.on('error', (error) => console.error(error)); // it goes on after those
let received = 0;
const all = new Promise((resolve) => {
    receiver.on('events', async (events) => {
        print('receiver', events);
        received += events.length;
        if (received === 2) {
            resolve(undefined);
        }
    }); // acknowledged now; a rejection would bring the events again
});
await stream.addEvent('USR_MOD', 1);
await all;
await receiver.close();
await stream.close();
