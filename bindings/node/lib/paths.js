'use strict';
// Where the compiled files are; for lib/native.js and scripts/build.js.

const fs = require('node:fs');
const path = require('node:path');

const ROOT = path.resolve(__dirname, '..');

const ADDON = 'futoin_eventstream.node';
const LIBRARY = 'libfutoin_eventstream.so.0'; // its SONAME

/** The folder of the prebuilt addon for this platform, which need not exist. */
function prebuilt() {
    // Programs of another C library cannot load it.
    const musl = process.platform === 'linux' && !process.report?.getReport().header.glibcVersionRuntime;
    return path.join(ROOT, 'prebuilds', `${process.platform}-${process.arch}${musl ? '-musl' : ''}`);
}

/** The addon to load: the prebuilt one, if there is one. */
function addon() {
    const file = path.join(prebuilt(), ADDON);
    return fs.existsSync(file) ? file : path.join(ROOT, 'build', ADDON);
}

module.exports = { ADDON, LIBRARY, prebuilt, addon };
