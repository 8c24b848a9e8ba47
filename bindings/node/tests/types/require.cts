// As use.mts, for CommonJS.
import native = require('futoin-eventstream-native');

export async function use(): Promise<bigint> {
    const stream: native.EventStream = await native.EventStream.fromEnv();
    const lag = await stream.lag();
    return lag.highestId ?? (await stream.addEvent('A'));
}
