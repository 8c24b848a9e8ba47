// Another SQLite library in this process: compiles it as an addon. Arguments: URL FILE FOLDER.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { EventStream, statement } from 'futoin-eventstream-native';

const [, , url, file, folder] = process.argv;
const require = createRequire(import.meta.url);
const source = fileURLToPath(new URL('../foreign/foreign.cpp', import.meta.url));
const addon = path.join(folder, 'foreign.node');
const flags = ['-std=c++17', '-shared', '-fPIC', '-Wall', '-Wextra', '-Werror'];
const made = spawnSync(
    process.env.CXX ?? 'g++',
    [...flags, '-I', require('node-api-headers').include_dir, source, '-o', addon, '-ldl'],
    { stdio: 'inherit' },
);
assert.equal(made.status, 0);
const foreign = require(addon);

// It has the file open: refused.
assert.equal(foreign.open(file), 0);
const begin = foreign.run('BEGIN IMMEDIATE', '', '');
assert.equal(begin, 0);
await EventStream.open(url).then(
    () => assert.fail('it was opened'),
    (error) => console.log(`refused: ${error.kind}`),
);

// Its connection adds the event.
const { sql, params } = statement('sqlite', 'NEW_ENTRY', { name: 'x' });
assert.equal(foreign.run(sql, ...params), 0);
assert.equal(foreign.run('COMMIT', '', ''), 0);
assert.equal(foreign.close(), 0);

// Closed there, it may be opened here.
const stream = await EventStream.open(url);
const audit = stream.consumer('Audit', { user: 'app' });
await audit.register();
const [event] = await audit.poll();
assert.deepEqual([event.type, event.data], ['NEW_ENTRY', { name: 'x' }]);
console.log('added by the other library');
await stream.close();
