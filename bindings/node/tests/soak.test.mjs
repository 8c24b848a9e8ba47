// Long work takes no more memory, threads or files than short work. FES_SOAK_SECONDS makes it longer.
import assert from 'node:assert/strict';
import test from 'node:test';
import { database } from './support/db.mjs';
import { program } from './support/stream.mjs';

const SECONDS = process.env.FES_SOAK_SECONDS ?? '5';
const SERVERS = process.env.FES_SOAK_SECONDS ? ['sqlite', 'postgres', 'mariadb'] : ['sqlite'];
const MIB = 2 ** 20;
// V8 would make its young generation larger at some time, which is no leak.
const OPTIONS = ['--expose-gc', '--max-semi-space-size=2'];

for (const server of SERVERS) {
    test(`memory stays flat over ${SECONDS} s (${server})`, async (t) => {
        const db = await database(t, server);
        const limit = Number(SECONDS) * 1000 + 60000;
        const result = await program('soak.mjs', [db.url, SECONDS], OPTIONS, limit);
        assert.equal(result.code, 0, result.stderr);
        console.log(`# ${result.stdout.trim()}`);
        const { rounds, added, polled, pushed, growth } = JSON.parse(result.stdout);
        assert.ok(rounds > 10, `${rounds} rounds`);
        assert.deepEqual([polled, pushed], [added, added]);
        assert.ok(growth.rss < 16 * MIB, `${(growth.rss / MIB).toFixed(1)} MiB of memory more`);
        assert.ok(growth.heapUsed < 4 * MIB, `${(growth.heapUsed / MIB).toFixed(1)} MiB of heap more`);
        assert.ok(growth.threads <= 2 && growth.files <= 2, JSON.stringify(growth));
    });
}
