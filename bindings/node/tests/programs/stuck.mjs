// Exits while a call is stuck at a server that does not answer.
import { createServer } from 'node:net';
import { EventStream } from 'futoin-eventstream-native';

const server = createServer(() => {}).listen(0, '127.0.0.1', () => {
    const { port } = server.address();
    EventStream.open(`postgres://user:hunter2@127.0.0.1:${port}/db`, { connectTimeoutMs: 60000 });
    setTimeout(() => process.exit(5), 300);
});
