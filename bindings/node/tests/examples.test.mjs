// The programs of examples/node print what they promise, and the code of the READMEs runs.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { after, onEachServer } from './support/db.mjs';

const PACKAGE = fileURLToPath(new URL('..', import.meta.url));
const EXAMPLES = path.join(PACKAGE, '../../examples');
const run = promisify(execFile);

/** A folder with the package installed as `npm install ./bindings/node` does, and the examples. */
function project(t) {
    const folder = mkdtempSync(path.join(tmpdir(), 'fes-node-'));
    after(t, () => rmSync(folder, { recursive: true, force: true }));
    mkdirSync(path.join(folder, 'node_modules'));
    symlinkSync(PACKAGE, path.join(folder, 'node_modules/futoin-eventstream-native'));
    for (const name of readdirSync(path.join(EXAMPLES, 'node')).filter((name) => name.endsWith('.mjs'))) {
        copyFileSync(path.join(EXAMPLES, 'node', name), path.join(folder, name));
    }
    return folder;
}

const stories = readdirSync(path.join(EXAMPLES, 'expected')).map((name) => name.replace('.txt', ''));

test('there is a program for each story', () => {
    assert.equal(stories.length, 7);
});

for (const story of stories) {
    test(`the example ${story} prints what is expected`, async (t) => {
        const { stdout, stderr } = await run(process.execPath, [`${story}.mjs`], { cwd: project(t), timeout: 30000 });
        assert.equal(stdout, readFileSync(path.join(EXAMPLES, 'expected', `${story}.txt`), 'utf8'));
        assert.equal(stderr, '');
    });
}

onEachServer('the example transaction runs on servers, too', async (t, db) => {
    const { stdout } = await run(process.execPath, ['transaction.mjs', db.url], { cwd: project(t), timeout: 30000 });
    assert.equal(stdout, readFileSync(path.join(EXAMPLES, 'expected/transaction.txt'), 'utf8'));
}, ['postgres', 'postgres18', 'mariadb', 'mysql']);

// What the stories of README.md take for granted, before and after their code.
const IMPORTS = `
import { once } from 'node:events';
import { Archiver, Discarder, EventStream, ReliableReceiver, ServiceApp, Warehouse, statement } from 'futoin-eventstream-native';
const ran = [];
const client = { query: async (sql, params) => ran.push(params) };
const db = { prepare: () => ({ run: (...params) => ran.push(params) }) };
const signal = AbortSignal.timeout(1000);
`;

test("the README's code runs, from its first line to its last", async (t) => {
    const folder = project(t);
    const blocks = readFileSync(path.join(PACKAGE, 'README.md'), 'utf8').match(/(?<=```js\n)[^]*?(?=```)/g);
    assert.equal(blocks.length, 10);
    const iterate = blocks.findIndex((block) => block.includes('audit.events('));
    blocks[iterate] = `try {\n${blocks[iterate]}} catch (error) { ran.push(error.name); }\n`;
    const create = "await stream.transaction((tx) => tx.execute('CREATE TABLE users(name TEXT)'));\n";
    const change = blocks.findIndex((block) => block.includes('INSERT INTO users'));
    blocks[change] = create + blocks[change];
    // Each story in a block of its own, but the stream and the consumer of the first ones.
    const [trap, open, ...rest] = blocks;
    const shared = rest.map((block) => (block.startsWith('const audit') ? block : `{\n${block}}\n`));
    const code = [IMPORTS, `{\n${trap}}\n`, open, ...shared, 'await stream.close(); console.log(JSON.stringify(ran));'];
    writeFileSync(path.join(folder, 'readme.mjs'), code.join('\n'));
    const { stdout, stderr } = await run(process.execPath, ['readme.mjs'], { cwd: folder, timeout: 30000 });
    assert.equal(stderr, '');
    assert.match(stdout, /^1n \[ 2n, 3n \]$/m);
    assert.match(stdout, /\[\["NEW_ENTRY","\{\\"name\\":\\"x\\"\}"\],\["USR_ADD","\{\\"name\\":\\"Ann\\"\}"\],"TimeoutError"\]\n$/);
});

test("the main README's code runs", async (t) => {
    const folder = project(t);
    const [, section] = readFileSync(path.join(PACKAGE, '../../README.md'), 'utf8').split('## From Node.js');
    const [code] = section.split('\n## ')[0].match(/(?<=```js\n)[^]*?(?=```)/g);
    writeFileSync(path.join(folder, 'main.mjs'), code);
    const { stdout, stderr } = await run(process.execPath, ['main.mjs'], { cwd: folder, timeout: 30000 });
    assert.equal(stderr, '');
    assert.match(stdout, /^1n USR_ADD \{ name: 'Ann' \}$/m);
});
