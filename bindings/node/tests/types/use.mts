// Checked by tsc --strict, never run: what the declarations promise, as users write it.
import native, { EventStream, EventStreamError, LiveReceiver, ReliableReceiver, rawJson } from 'futoin-eventstream-native';

interface User {
    name: string;
}

export async function use(): Promise<void> {
    await using stream = await EventStream.open('sqlite::memory:', { maxConnections: 5 });
    const id: bigint = await stream.addEvent('USR_ADD', { name: 'Ann' } satisfies User);
    const many: bigint[] = await stream.addEvents([['A', 1], { type: 'B', data: rawJson('1') }, ['C']]);
    const name: string = await stream.transaction(async (tx) => {
        const [[first]] = await tx.query('SELECT name FROM users WHERE id = ?', [id]);
        return String(first);
    });
    const audit = stream.consumer('Audit', { user: 'app' });
    const signal = AbortSignal.timeout(5);
    for await (const event of audit.events<User>({ want: ['USR_ADD'], signal })) {
        const user: User = event.data;
        console.log(event.id + many[0], event.ts.getTime(), user.name, name, event.raw);
    }
    const [event] = await audit.poll({ lastId: 5, timeoutMs: Infinity });
    await audit.registerAt({ time: event.ts });
    const receiver = new ReliableReceiver(stream, 'Audit', { user: 'app', poison: { skipAfter: 3 }, queueMax: 10 });
    receiver.on('events', async (events, { seq }) => console.log(events.length, seq));
    receiver.on('error', (error: Error) => error instanceof EventStreamError && error.retriable);
    await using live = new LiveReceiver(stream);
    live.once('ready', () => {});
    native.setLog((level, message) => console.log(level, message), 'debug');
    // @ts-expect-error an id is no string
    await audit.acknowledge('5');
    // @ts-expect-error no such kind
    new EventStreamError('Nonsense', '');
}
