// Shared by the examples.
import { EventStream } from 'futoin-eventstream-native';

/** The database of the program's first argument, or one in memory. */
export async function openStream() {
    const stream = await EventStream.open(process.argv[2] ?? 'sqlite::memory:');
    await stream.migrate();
    return stream;
}

/**
 * @param {string} who
 * @param {import('futoin-eventstream-native').Event[]} events
 */
export function print(who, events) {
    for (const event of events) {
        console.log(`${who}: ${event.id} ${event.type} ${event.raw}`);
    }
}
