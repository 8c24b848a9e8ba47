// Events of their own: each is durable when the promise resolves.
import { EventStreamError } from 'futoin-eventstream-native';
import { openStream } from './example.mjs';

const stream = await openStream();
console.log(`added ${await stream.addEvent('USR_ADD', { name: 'Ann' })}`);

// Many at once: all or none.
const ids = await stream.addEvents([['USR_MOD', { id: 1 }], ['USR_DEL']]);
console.log(`added ${ids[0]} and ${ids[1]}`);

// Text that is no event type is refused.
try {
    await stream.addEvent('lower case');
} catch (error) {
    if (error instanceof EventStreamError) {
        console.log(`refused: ${error.kind}`);
    }
}
await stream.close();
