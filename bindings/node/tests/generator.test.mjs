// Adding events: alone, many at once, in transactions, on other people's connections.
import assert from 'node:assert/strict';
import test from 'node:test';
import { EventStream, rawJson, statement } from 'futoin-eventstream-native';
import { after, onEachServer } from './support/db.mjs';
import { audited, fails, ids, stream, types } from './support/stream.mjs';

const place = (db, number) => (db.server.startsWith('postgres') ? `$${number}` : '?');

onEachServer('an event comes back as it was added', async (t, db) => {
    const { stream, audit } = await audited(t, db);
    const data = { name: 'Änn 😀', list: [1, 2.5, null, true], deep: { a: { b: 'c' } } };
    const before = Math.floor(Date.now() / 1000) * 1000;
    const id = await stream.addEvent('USR_ADD', data);
    assert.equal(typeof id, 'bigint');
    const [event] = await audit.poll();
    assert.deepEqual([event.id, event.type, event.data], [id, 'USR_ADD', data]);
    assert.equal(event.raw, JSON.stringify(data));
    assert.ok(event.ts instanceof Date);
    assert.ok(Math.abs(event.ts - before) <= 10000, String(event.ts));
    assert.deepEqual(JSON.parse(JSON.stringify(event)).id, String(id));
});

onEachServer('many events are added in order, all or none', async (t, db) => {
    const { stream, audit } = await audited(t, db);
    const added = await stream.addEvents([['A', 1], { type: 'B', data: { x: 2 } }, ['C']]);
    assert.equal(added.length, 3);
    assert.ok(added[0] < added[1] && added[1] < added[2]);
    await fails('InvalidType', stream.addEvents([['D', 1], ['not good', 2]]));
    const events = await audit.poll();
    assert.deepEqual(ids(events), added);
    assert.deepEqual(events.map((event) => event.data), [1, { x: 2 }, null]);
    assert.deepEqual(await stream.addEvents([]), []);
});

onEachServer('a transaction commits both the change and its event', async (t, db) => {
    const { stream, audit } = await audited(t, db);
    await stream.transaction((tx) => tx.execute('CREATE TABLE users(name VARCHAR(80), age INTEGER)'));
    const result = await stream.transaction(async (tx) => {
        const sql = `INSERT INTO users(name, age) VALUES (${place(db, 1)}, ${place(db, 2)})`;
        assert.equal(await tx.execute(sql, ['Ann', 41]), 1);
        const id = await tx.addEvent('USR_ADD', { name: 'Ann' });
        const more = await tx.addEvents([['USR_MOD', 1], ['USR_DEL']]);
        assert.ok(id < more[0] && more[0] < more[1]);
        return 'done';
    });
    assert.equal(result, 'done');
    assert.deepEqual(types(await audit.poll()), ['USR_ADD', 'USR_MOD', 'USR_DEL']);
    const rows = await stream.transaction((tx) => tx.query('SELECT name, age FROM users'));
    assert.deepEqual(rows, [['Ann', 41]]);
    assert.deepEqual(rows.columns, ['name', 'age']);
});

onEachServer('a transaction whose body throws leaves nothing', async (t, db) => {
    const { stream, audit } = await audited(t, db);
    await stream.transaction((tx) => tx.execute('CREATE TABLE users(name VARCHAR(80))'));
    const why = new Error('no');
    await assert.rejects(
        stream.transaction(async (tx) => {
            await tx.execute("INSERT INTO users(name) VALUES ('Bob')");
            await tx.addEvent('USR_ADD', { name: 'Bob' });
            throw why;
        }),
        why,
    );
    const tx = await stream.begin();
    await tx.addEvent('USR_ADD', 2);
    await tx.rollback();
    await tx.rollback(); // does nothing
    assert.ok(tx.ended);
    await fails('Closed', tx.addEvent('USR_ADD', 3));
    await fails('Closed', tx.commit());
    assert.deepEqual(await audit.poll(), []);
    assert.deepEqual(await stream.transaction((tx) => tx.query('SELECT name FROM users')), []);
});

onEachServer('a transaction that the SQL of its caller has ended says so', async (t, db) => {
    const { stream, audit } = await audited(t, db);
    for (const sql of ['COMMIT', 'ROLLBACK']) {
        const tx = await stream.begin();
        await tx.addEvent('BEFORE', sql);
        await fails('TransactionEnded', tx.execute(sql));
        await fails('TransactionEnded', tx.addEvent('AFTER', sql));
        await fails('TransactionEnded', tx.query('SELECT 1'));
        await fails('TransactionEnded', tx.commit());
    }
    await fails('TransactionEnded', stream.transaction((tx) => tx.query('ROLLBACK')));
    assert.deepEqual((await audit.poll()).map(({ data }) => data), ['COMMIT']);
});

onEachServer('calls on a transaction run in the order that they were made', async (t, db) => {
    const { stream, audit } = await audited(t, db);
    await stream.transaction((tx) => {
        for (let i = 0; i < 200; i++) {
            tx.addEvent('USR_ADD', i); // not waited for: the commit comes after them
        }
    });
    const events = await audit.poll();
    assert.deepEqual(events.map((event) => event.data), [...Array(200).keys()]);
});

onEachServer('values go in and come out of a statement', async (t, db) => {
    const opened = await stream(t, db);
    await opened.transaction(async (tx) => {
        const blob = db.server.startsWith('postgres') ? 'BYTEA' : 'BLOB';
        await tx.execute(`CREATE TABLE vals(i BIGINT, r DOUBLE PRECISION, t VARCHAR(80), b ${blob}, n INTEGER)`);
        const places = [1, 2, 3, 4, 5].map((number) => place(db, number)).join(', ');
        const values = [9007199254740993n, 2.5, 'tëxt', Buffer.from([0, 255, 7]), null];
        await tx.execute(`INSERT INTO vals VALUES (${places})`, values);
        await tx.execute(`INSERT INTO vals VALUES (${places})`, [7, -1.25, '', new Uint8Array([200]), 5]);
        const rows = await tx.query('SELECT i, r, t, b, n FROM vals ORDER BY i DESC');
        assert.deepEqual(rows, [values, [7, -1.25, '', Buffer.from([200]), 5]]);
    });
});

onEachServer('the statement works on a connection of the caller', async (t, db) => {
    const { stream, audit } = await audited(t, db);
    const raw = await db.raw();
    after(t, () => raw.close());
    const made = stream.statement('NEW_ENTRY', { name: 'x' });
    assert.deepEqual(made, statement(stream.kind, 'NEW_ENTRY', { name: 'x' }));
    await raw.run(made.sql, made.params);
    const [event] = await audit.poll();
    assert.deepEqual([event.type, event.data], ['NEW_ENTRY', { name: 'x' }]);
}, ['postgres', 'postgres18', 'mariadb', 'mysql']);

onEachServer('the statement takes typed text and text of unknown type', async (t, db) => {
    const { stream, audit } = await audited(t, db);
    const raw = await db.raw();
    after(t, () => raw.close());
    const { sql, params } = stream.statement('TYPED', { name: 'ä😀' });
    await raw.run({ name: 'named', text: sql, values: params }); // a prepared statement of pg
    await raw.query(`PREPARE typed(text, text) AS ${sql}`);
    await raw.query(`EXECUTE typed('${params[0]}', '${params[1]}')`);
    assert.deepEqual((await audit.poll()).map(({ data }) => data.name), ['ä😀', 'ä😀']);
}, ['postgres', 'postgres18']);

onEachServer('the statement does not depend on the character set of the session', async (t, db) => {
    const { stream, audit } = await audited(t, db);
    const raw = await db.raw();
    after(t, () => raw.close());
    await raw.query('SET NAMES latin1');
    const { sql, params } = stream.statement('TEXT', { name: 'ä😀' });
    await raw.run(sql, params);
    assert.deepEqual((await audit.poll()).map(({ data }) => data), [{ name: 'ä😀' }]);
}, ['mariadb', 'mysql']);

onEachServer('JSON text stays as it was written', async (t, db) => {
    const { stream, audit } = await audited(t, db);
    const text = '{"b": 12345678901234567890, "a":1.0,"x":"\\u00e4"}';
    await stream.addEvents([['A', rawJson(text)], ['B', '😀'], ['C', rawJson('[ 1 ,2]')]]);
    const events = await audit.poll();
    assert.deepEqual(events.map((event) => event.raw), [text, '"😀"', '[ 1 ,2]']);
    assert.equal(events[0].data.x, 'ä');
    await stream.addEvent('D', rawJson(events[0].raw)); // passed on
    assert.equal((await audit.poll({ lastId: events[2].id }))[0].raw, text);
});

test('what is no event is refused', async (t) => {
    const opened = await EventStream.open('sqlite::memory:', { maxEventBytes: 100 });
    after(t, () => opened.close());
    await opened.migrate();
    await fails('InvalidType', opened.addEvent('lower'));
    await fails('InvalidType', opened.addEvent(5));
    await fails('InvalidType', opened.addEvent('USR_ADD\0X'));
    await fails('TooLarge', opened.addEvent('A', 'x'.repeat(200)));
    await fails('InvalidData', opened.addEvent('A', 5n));
    await fails('InvalidData', opened.addEvent('A', () => 1));
    await fails('InvalidData', opened.addEvent('A', rawJson('{')));
    const loop = {};
    loop.loop = loop;
    await fails('InvalidData', opened.addEvent('A', loop));
    await fails('InvalidArgument', opened.addEvents(5));
    await fails('InvalidType', opened.addEvents([['A'], {}]));
    await fails('InvalidArgument', opened.transaction(5));
    await fails('InvalidType', () => statement('sqlite', 'lower', 1));
    await fails('InvalidArgument', () => statement('oracle', 'A', 1));
    assert.match(statement('postgresql', 'A', 1, { eventTable: 'app.events' }).sql, /"app"."events"/);
});

test('what a statement cannot take is refused', async (t) => {
    const opened = await EventStream.open('sqlite::memory:');
    after(t, () => opened.close());
    await opened.transaction(async (tx) => {
        for (const value of [undefined, {}, new Date(), Symbol('x'), 2n ** 64n, -(2n ** 63n) - 1n]) {
            await fails('InvalidArgument', tx.query('SELECT ?', [value]));
        }
        await fails('InvalidArgument', tx.query('SELECT 1', 'x'));
        const error = await fails('Database', tx.query('SELECT nonsense'));
        assert.notEqual(error.sqlState, '');
        assert.deepEqual(await tx.query('SELECT ?, ?', [2 ** 53, true]), [[2 ** 53, 1]]);
    });
});
