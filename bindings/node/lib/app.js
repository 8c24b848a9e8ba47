'use strict';

const args = require('./args.js');
const { call } = require('./error.js');
const { Warehouse } = require('./history.js');
const { newKey } = require('./native.js');
const { EventStream } = require('./stream.js');
const { Worker } = require('./worker.js');

/** Stream, warehouse, archiver and discarder from one configuration: see index.d.ts. */
class ServiceApp extends Worker {
    #stream;
    #warehouse;

    static async open(url, warehouseUrl, options) {
        const key = newKey();
        const urls = [args.text(url, 'the URL', 'InvalidUrl')];
        urls.push(warehouseUrl === undefined || warehouseUrl === null ? null : args.text(warehouseUrl, 'the URL', 'InvalidUrl'));
        return new ServiceApp(await call('openApp', ...urls, key, args.readingOptions(options)), key);
    }

    static async fromEnv(options) {
        const key = newKey();
        return new ServiceApp(await call('appFromEnv', key, args.readingOptions(options)), key);
    }

    get stream() {
        this.#stream ??= new EventStream(this.now('appStream'));
        return this.#stream;
    }

    get warehouse() {
        this.#warehouse ??= new Warehouse(this.now('appWarehouse'));
        return this.#warehouse;
    }

    async migrate() {
        await this.listening((handle) => call('migrateApp', handle));
    }

    async start() {
        await this.listen((handle) => call('startApp', handle));
    }

    async stop(options) {
        await this.waiting('stopApp', options);
        this.unlisten();
    }

    async close() {
        await super.close();
        await this.#stream?.close();
        await this.#warehouse?.close();
    }
}

module.exports = { ServiceApp };
