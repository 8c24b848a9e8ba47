// Databases of a test's own, on every server that is there.
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'node:test';

const require = createRequire(import.meta.url);
const pg = require('pg');
const mysql = require('mysql2/promise');

export const SERVERS = ['sqlite', 'postgres', 'postgres18', 'mariadb', 'mysql'];

let count = 0;

const undone = new WeakMap();

/** Does something when the test ends: the last one first, unlike `t.after`. */
export function after(t, undo) {
    const list = undone.get(t) ?? [];
    if (list.length === 0) {
        undone.set(t, list);
        t.after(async () => {
            for (const undo of list.reverse()) {
                await undo();
            }
        });
    }
    list.push(undo);
}

function adminUrl(server) {
    const name = `FES_TEST_${server.toUpperCase()}_URL`;
    const url = process.env[name];
    if (!url && process.env.FES_TEST_REQUIRED) {
        throw new Error(`${name} is not set: run the tests with tests/run`);
    }
    return url;
}

/** A connection of the raw driver: run(sql, params) gives the rows, query(sql) takes no parameters. */
export async function connect(url) {
    if (url.startsWith('postgres')) {
        const client = new pg.Client({ connectionString: url });
        await client.connect();
        return {
            run: async (sql, params) => (await client.query(sql, params)).rows,
            query: (sql) => client.query(sql),
            close: () => client.end(),
        };
    }
    const client = await mysql.createConnection({ uri: url, supportBigNumbers: true, bigNumberStrings: true });
    return {
        run: async (sql, params) => (await client.execute(sql, params))[0],
        query: (sql) => client.query(sql), // what cannot be prepared
        close: () => client.end(),
    };
}

/** A new database: {server, url, raw(), file}, dropped when the test ends. */
export async function database(t, server) {
    if (server === 'sqlite') {
        const folder = mkdtempSync(path.join(tmpdir(), 'fes-node-'));
        after(t, () => rmSync(folder, { recursive: true, force: true }));
        const file = path.join(folder, 'events.db');
        return { server, file, url: `sqlite://${file}`, dwh: `sqlite://${folder}/history.db` };
    }
    const admin = adminUrl(server);
    const name = `fes_node_${process.pid}_${count++}`;
    const control = await connect(admin);
    await control.run(`CREATE DATABASE ${name}`);
    const url = new URL(admin);
    url.pathname = `/${name}`;
    after(t, async () => {
        await control.run(`DROP DATABASE ${name}${server.startsWith('postgres') ? ' WITH (FORCE)' : ''}`);
        await control.close();
    });
    return { server, url: url.href, dwh: url.href, raw: () => connect(url.href) };
}

/** A test for each server: the body gets the test's context and a database. */
export function onEachServer(name, body, servers = SERVERS) {
    for (const server of servers) {
        if (server !== 'sqlite' && !adminUrl(server)) {
            console.log(`# left out: ${server}, because its FES_TEST_ variable is not set (tests/run sets it)`);
            continue;
        }
        test(`${name} (${server})`, { timeout: 60000 }, async (t) => body(t, await database(t, server)));
    }
}
