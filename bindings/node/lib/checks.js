'use strict';
// The results of the checks of a stream, as JavaScript objects.

/** The report of `verify`. */
function verification(json) {
    const report = JSON.parse(json);
    return {
        first: BigInt(report.first),
        last: BigInt(report.last),
        highestId: BigInt(report.highest_id),
        complete: report.complete,
        inQueue: report.in_queue,
        inBoth: report.in_both,
        inHistory: report.in_history,
        neverCommitted: report.never_committed,
        gone: report.gone,
        unsettled: report.unsettled,
        blocked: report.blocked,
        findings: report.findings.map((finding) => ({
            ...finding,
            examples: finding.examples.map(({ id, detail }) => ({ id: BigInt(id), detail })),
        })),
    };
}

module.exports = { verification };
