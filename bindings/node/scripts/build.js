'use strict';
// Builds the addon, where no prebuilt one fits: the Rust library with cargo, the C++ of src/ with g++.
//
//   node scripts/build.js            into build/, unless prebuilds/ has one or it is up to date
//   node scripts/build.js --prebuild into prebuilds/<platform>-<arch>/, to be published
//   node scripts/build.js --header   only copies the C header into the package, to be published
//
// FES_LIBRARY names a libfutoin_eventstream.so to take instead of building it,
// CXX another C++ compiler.

const { spawn, spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { ADDON, LIBRARY, prebuilt } = require('../lib/paths.js');

const HERE = path.resolve(__dirname, '..');
const REPOSITORY = path.resolve(HERE, '../..');
const HEADER = 'futoin_eventstream.h';
const FLAGS = ['-std=c++17', '-O2', '-fPIC', '-fvisibility=hidden', '-Wall', '-Wextra', '-DNAPI_VERSION=8'];
// The addon finds the library beside it. Neither is ever unloaded: threads may run in them.
const LINK = ['-shared', '-Wl,-rpath,$ORIGIN', '-Wl,-z,nodelete', '-Wl,-z,defs,--unresolved-symbols=ignore-all'];

function fail(message) {
    console.error(`futoin-eventstream-native: ${message}`);
    process.exit(1);
}

function time(file) {
    return fs.existsSync(file) ? fs.statSync(file).mtimeMs : 0;
}

// The shared library: the named one, or the one that cargo makes of this repository.
function library() {
    const named = process.env.FES_LIBRARY;
    if (named) {
        return fs.existsSync(named) ? path.resolve(named) : fail(`${named} does not exist`);
    }
    if (!fs.existsSync(path.join(REPOSITORY, 'Cargo.toml'))) {
        fail('no prebuilt addon fits this platform, and the Rust sources are not here: set ' +
            'FES_LIBRARY to a libfutoin_eventstream.so, or install from the repository');
    }
    const command = ['rustc', '--profile', 'dist', '--lib', '--features', 'capi', '--crate-type', 'cdylib'];
    const cargo = spawnSync('cargo', command, { cwd: REPOSITORY, stdio: 'inherit' });
    if (cargo.status !== 0) {
        fail(cargo.error ? `cargo: ${cargo.error.message}` : 'cargo build failed');
    }
    const target = process.env.CARGO_TARGET_DIR ?? 'target';
    return path.resolve(REPOSITORY, target, 'dist/libfutoin_eventstream.so');
}

function headerFolder() {
    const folders = [path.join(REPOSITORY, 'include'), path.join(HERE, 'include')];
    return folders.find((folder) => fs.existsSync(path.join(folder, HEADER))) ?? fail(`${HEADER} is missing`);
}

// The headers of Node-API. npm installs no dependencies of a folder that it only links to, as
// `npm install ./bindings/node` does: then they are installed here.
function nodeHeaders() {
    const find = () => require('node-api-headers').include_dir;
    try {
        return find();
    } catch (error) {
        if (error.code !== 'MODULE_NOT_FOUND') {
            throw error;
        }
    }
    const command = ['ci', '--omit=dev', '--ignore-scripts', '--global=false', '--no-audit', '--no-fund'];
    const npm = spawnSync('npm', command, { cwd: HERE, stdio: 'inherit' });
    return npm.status === 0 ? find() : fail('npm ci failed');
}

function run(command, args) {
    return new Promise((resolve) => {
        const child = spawn(command, args, { stdio: 'inherit' });
        child.on('error', (error) => fail(`${command}: ${error.message}`));
        child.on('close', (code) => (code === 0 ? resolve() : fail(`${command} failed`)));
    });
}

// Compiles what is older than its source or any header, two at a time.
async function compile(includes, objects) {
    const sources = fs.readdirSync(path.join(HERE, 'src'));
    const headers = sources.filter((name) => name.endsWith('.hpp')).map((name) => path.join(HERE, 'src', name));
    headers.push(path.join(includes[0], HEADER), __filename);
    const newest = Math.max(...headers.map(time));
    const units = sources.filter((name) => name.endsWith('.cpp'));
    const made = units.map((name) => path.join(objects, name.replace('.cpp', '.o')));
    const queue = units.filter((name, i) => time(made[i]) < Math.max(newest, time(path.join(HERE, 'src', name))));
    const worker = async () => {
        for (let name = queue.shift(); name; name = queue.shift()) {
            const object = path.join(objects, name.replace('.cpp', '.o'));
            const where = includes.flatMap((folder) => ['-I', folder]);
            await run(process.env.CXX ?? 'g++', [...FLAGS, ...where, '-c', path.join(HERE, 'src', name), '-o', object]);
        }
    };
    await Promise.all([worker(), worker()]);
    return made;
}

// The copy is as old as its source, which tells whether it is one of it.
function copyLibrary(source, copy) {
    const { atime, mtime, mtimeMs, size } = fs.statSync(source);
    if (fs.existsSync(copy) && Math.abs(time(copy) - mtimeMs) < 2 && fs.statSync(copy).size === size) {
        return;
    }
    fs.rmSync(copy, { force: true }); // a new file: a running process keeps the old one
    fs.copyFileSync(source, copy);
    fs.utimesSync(copy, atime, mtime);
}

async function build(folder) {
    const source = library();
    const objects = path.join(HERE, 'build/objects');
    fs.mkdirSync(objects, { recursive: true });
    fs.mkdirSync(folder, { recursive: true });
    const copy = path.join(folder, LIBRARY);
    copyLibrary(source, copy);
    const includes = [headerFolder(), nodeHeaders()];
    const made = await compile(includes, objects);
    const addon = path.join(folder, ADDON);
    if (time(addon) < Math.max(...made.map(time), time(copy))) {
        await run(process.env.CXX ?? 'g++', [...LINK, '-o', `${addon}.new`, ...made, copy]);
        fs.renameSync(`${addon}.new`, addon);
    }
}

function copyHeader() {
    fs.mkdirSync(path.join(HERE, 'include'), { recursive: true });
    fs.copyFileSync(path.join(headerFolder(), HEADER), path.join(HERE, 'include', HEADER));
}

async function main() {
    if (process.platform !== 'linux') {
        fail(`Linux only, not ${process.platform}`);
    }
    if (process.argv.includes('--header')) {
        copyHeader();
    } else if (process.argv.includes('--prebuild')) {
        await build(prebuilt());
    } else if (!fs.existsSync(path.join(prebuilt(), ADDON))) {
        await build(path.join(HERE, 'build'));
    }
}

main();
