// Two consumers poll what they want, and acknowledge.
import { openStream, print } from './example.mjs';

const stream = await openStream();
const audit = stream.consumer('Audit', { user: 'app' });
const mailer = stream.consumer('Mailer', { user: 'app' });
await audit.register();
await mailer.register();

/**
 * @param {import('futoin-eventstream-native').Consumer} consumer
 * @param {string} who
 * @param {string[]} [want]
 */
async function drain(consumer, who, want) {
    /** @type {bigint | undefined} */
    let lastId;
    for (;;) {
        const events = await consumer.poll({ lastId, want }); // lastId acknowledges what came before
        if (events.length === 0) {
            return;
        }
        print(who, events);
        lastId = events[events.length - 1].id;
    }
}

await stream.addEvent('USR_ADD', 1);
await stream.addEvent('USR_MOD', 1);
await drain(audit, 'audit');
await drain(mailer, 'mailer', ['USR_ADD']);
await stream.addEvent('USR_ADD', 2);
await drain(audit, 'audit');
await drain(mailer, 'mailer', ['USR_ADD']);
await stream.close();
