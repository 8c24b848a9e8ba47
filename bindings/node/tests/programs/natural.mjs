// What keeps a process alive, and what does not. Arguments: WHAT URL.
import { Archiver, EventStream, ReliableReceiver, Warehouse } from 'futoin-eventstream-native';

const [, , what, url] = process.argv;
const stream = await EventStream.open(url);
await stream.migrate();
await stream.consumer('Audit', { user: 'app' }).register();
await stream.addEvent('USR_ADD', 1);

if (what === 'open') {
    // Open, and in the middle of something, but nobody waits for anything.
    await stream.subscribe('Audit', { user: 'app' });
    await stream.begin();
    const warehouse = await Warehouse.open('sqlite::memory:');
    new Archiver(stream, warehouse);
    new ReliableReceiver(stream, 'Mailer', { user: 'app' });
} else if (what === 'receiver') {
    const receiver = new ReliableReceiver(stream, 'Mailer', { user: 'app' });
    receiver.on('events', (events) => {
        console.log('events', events.length);
        // Lives on, although nothing else is there; then it is stopped, and that is the end.
        setTimeout(() => receiver.stop(), 300);
    });
} else if (what === 'poll') {
    const audit = stream.consumer('Audit', { user: 'app' });
    audit.poll({ lastId: 1n, timeoutMs: 300 }).then((events) => console.log('events', events.length));
}
process.on('exit', () => console.log('exit'));
