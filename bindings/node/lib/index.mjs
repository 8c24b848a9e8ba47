import native from './index.js';

export const {
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
} = native;
export default native;
