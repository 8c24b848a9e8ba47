// Writers that overlap as badly as they can, and the count of what a consumer got of it.
import { setTimeout as sleep } from 'node:timers/promises';

const TYPES = ['STRESS_A', 'STRESS_B', 'STRESS_C'];

/** Numbers in [0, 1), the same for the same seed. */
export function random(seed) {
    let state = seed >>> 0;
    return () => {
        state = (state + 0x6d2b79f5) >>> 0;
        let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
        mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
        return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
    };
}

/** What was committed: "writer,serial" to type; and how much was not. */
export class Truth {
    committed = new Map();
    rolledBack = 0;
    refused = 0;

    count(want) {
        return [...this.committed.values()].filter((type) => !want || want.includes(type)).length;
    }
}

/** One writer: transactions of one to three events, with pauses, until `end`. */
export async function write(number, seed, end, begin, truth) {
    const chance = random(seed + number);
    const pause = () => sleep(Math.floor(chance() * 15));
    let serial = 0;
    while (Date.now() < end) {
        await pause();
        const events = Array.from({ length: 1 + Math.floor(chance() * 3) }, () => {
            serial++;
            return [TYPES[Math.floor(chance() * TYPES.length)], [number, serial]];
        });
        const rollback = chance() < 0.15;
        const slow = chance() < 0.05;
        const tx = await begin();
        try {
            for (const [type, data] of events) {
                await tx.add(type, data);
                await pause();
            }
            if (slow) {
                await sleep(150);
            }
            await (rollback ? tx.rollback() : tx.commit());
        } catch (error) {
            if (!/deadlock|lock wait|Busy|Conflict/i.test(`${error.name} ${error.message}`)) {
                throw error;
            }
            await tx.rollback().catch(() => {});
            truth.refused += events.length;
            continue;
        }
        if (rollback) {
            truth.rolledBack += events.length;
        } else {
            events.forEach(([type, data]) => truth.committed.set(String(data), type));
        }
    }
}

/** What a consumer got, in the order it got it. */
export class Ledger {
    keys = [];
    ids = [];

    note(events) {
        for (const event of events) {
            this.keys.push(String(event.data));
            this.ids.push(event.id);
        }
    }

    /** What is wrong with it: all must be 0. */
    report(truth, want) {
        const seen = new Set(this.keys);
        const wanted = [...truth.committed].filter(([, type]) => !want || want.includes(type)).map(([key]) => key);
        return {
            lost: wanted.filter((key) => !seen.has(key)).length,
            duplicated: this.keys.length - seen.size,
            outOfOrder: this.ids.filter((id, i) => i > 0 && id <= this.ids[i - 1]).length,
            phantom: [...seen].filter((key) => !truth.committed.has(key)).length,
        };
    }
}
