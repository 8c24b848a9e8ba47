//! `fes verify`: every id is accounted for.

use crate::args::{Global, Verify};
use crate::failure::{Failure, Result};
use crate::output::{Out, say};
use crate::printable::printable;
use crate::progress::Progress;
use crate::signals::Stop;
use futoin_eventstream::{Verification, VerifyOptions};

pub fn verify(global: &Global, args: &Verify, out: &mut Out) -> Result {
    let stop = Stop::on_signals()?;
    let stream = global.stream()?;
    let warehouse = global.warehouse_if_given()?;
    let mut options = VerifyOptions::new().from(args.from).examples(args.examples as usize);
    if let Some(to) = args.to {
        options = options.to(to);
    }
    let mut bar: Option<Progress> = None;
    let report = stream.verify_while(warehouse.as_ref(), &options, |progress| {
        bar.get_or_insert_with(|| Progress::new(Some(progress.total))).set(progress.done);
        !stop.is_set()
    })?;
    drop(bar);
    if out.json {
        let value = serde_json::to_value(&report)
            .map_err(|why| Failure::Other(format!("the report cannot be JSON: {why}")))?;
        out.document(&value)?;
    } else {
        show(&report, warehouse.is_some(), out)?;
    }
    out.flush()?;
    if !report.complete {
        say(&format!("interrupted: go on by --from {}", report.last + 1));
        return Err(Failure::Interrupted);
    }
    if report.is_clean() { Ok(()) } else { Err(Failure::Found) }
}

fn show(report: &Verification, history: bool, out: &mut Out) -> Result {
    out.line(&format!("{:<18}{} to {}", "ids", report.first, report.last))?;
    let mut count = |name: &str, count: u64| out.line(&format!("{name:<18}{count}"));
    if history {
        count("only in the queue", report.in_queue)?;
        count("in both", report.in_both)?;
        count("only in history", report.in_history)?;
    } else {
        count("in the queue", report.in_queue)?;
    }
    count("never committed", report.never_committed)?;
    count("discarded or gone", report.gone)?;
    count("not settled yet", report.unsettled)?;
    if let Some(why) = &report.blocked {
        out.line(&format!("{:<18}{}", "blocked", printable(why)))?;
    }
    if report.is_clean() {
        return out.line("every id is accounted for");
    }
    for finding in &report.findings {
        let (count, kind) = (finding.count, finding.kind);
        out.line("")?;
        out.line(&format!("WRONG  {kind} ({count}): {}", kind.meaning()))?;
        for example in &finding.examples {
            out.line(&format!("{:>10}  {}", printable(&example.id), printable(&example.detail)))?;
        }
        let rest = count - finding.examples.len() as u64;
        if rest > 0 {
            out.line(&format!("            and {rest} more"))?;
        }
    }
    Ok(())
}
