'use strict';

const { native } = require('./native.js');
const { ServiceApp } = require('./app.js');
const { RawJson } = require('./args.js');
const { Consumer } = require('./consumer.js');
const { EventStreamError } = require('./error.js');
const { Event } = require('./event.js');
const { Archiver, Discarder, Replay, Warehouse } = require('./history.js');
const { setLog } = require('./log.js');
const { LiveReceiver, ReliableReceiver } = require('./receiver.js');
const { EventStream, statement } = require('./stream.js');
const { Subscription } = require('./subscription.js');
const { Transaction } = require('./transaction.js');

const version = native.version();
const rawJson = (json) => new RawJson(json);

module.exports = {
    Archiver,
    Consumer,
    Discarder,
    Event,
    EventStream,
    EventStreamError,
    LiveReceiver,
    ReliableReceiver,
    Replay,
    ServiceApp,
    Subscription,
    Transaction,
    Warehouse,
    rawJson,
    setLog,
    statement,
    version,
};
