// A change and the event that tells of it: both, or none.
import { statement } from 'futoin-eventstream-native';
import { openStream } from './example.mjs';

const stream = await openStream();
const place = stream.kind === 'postgres' ? '$1' : '?';
await stream.transaction((tx) => tx.execute('CREATE TABLE users(name VARCHAR(80))'));

/** @param {string} name */
async function addUser(name) {
    await stream.transaction(async (tx) => {
        await tx.execute(`INSERT INTO users(name) VALUES (${place})`, [name]);
        await tx.addEvent('USR_ADD', { name });
        if (name === 'Bob') {
            throw new Error('not Bob'); // rolls back
        }
    });
}

await addUser('Ann');
await addUser('Bob').catch(() => {});

const rows = await stream.transaction((tx) => tx.query('SELECT name FROM users'));
for (const [name] of rows) {
    console.log(`user: ${name}`);
}

// The same on a connection of your own: run this in its transaction, as client.query(sql, params) of pg.
const { sql } = statement('postgres', 'USR_ADD', {});
console.log(sql.slice(0, 51));
await stream.close();
