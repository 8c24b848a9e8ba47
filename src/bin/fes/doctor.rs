//! `fes doctor`: what is wrong, before something is lost.

use crate::args::{Doctor, Global};
use crate::failure::{Failure, Result, redact};
use crate::output::Out;
use crate::printable::printable;
use futoin_eventstream::{Check, CheckStatus, DoctorOptions, Error, ErrorKind};

pub fn doctor(global: &Global, args: &Doctor, out: &mut Out) -> Result {
    let mut options = DoctorOptions::new();
    for role in &args.role {
        options = options.role(role).map_err(|error| Failure::Usage(error.to_string()))?;
    }
    let checks = match examine(global, &options) {
        // A fault of the server is a finding, too; a fault of the arguments is not.
        Err(Failure::Library(_, error)) if is_of_database(&error) => {
            vec![Check::unreachable(&error)]
        }
        checks => checks?,
    };
    if out.json {
        let value = serde_json::to_value(&checks)
            .map_err(|why| Failure::Other(format!("the checks cannot be JSON: {why}")))?;
        out.document(&value)?;
    } else {
        show(&checks, out)?;
    }
    out.flush()?;
    let worst = if args.strict { CheckStatus::Warning } else { CheckStatus::Failure };
    if checks.iter().any(|check| check.status >= worst) { Err(Failure::Found) } else { Ok(()) }
}

fn examine(global: &Global, options: &DoctorOptions) -> Result<Vec<Check>> {
    let stream = global.stream()?;
    let warehouse = global.warehouse_if_given()?;
    Ok(stream.doctor(warehouse.as_ref(), options)?)
}

fn is_of_database(error: &Error) -> bool {
    use ErrorKind::*;
    error.is_retriable()
        || matches!(error.kind(), PermissionDenied | ForeignSqlite | UnsafeServer | Database)
}

fn show(checks: &[Check], out: &mut Out) -> Result {
    for check in checks {
        let mark = match check.status {
            CheckStatus::Ok => "ok",
            CheckStatus::Unknown => "?",
            CheckStatus::Warning => "WARNING",
            CheckStatus::Failure => "FAILURE",
        };
        let seen = redact(&printable(&check.seen));
        out.line(&format!("{mark:<8} {:<21} {seen}", check.name))?;
        if check.status >= CheckStatus::Warning {
            out.line(&format!("         why: {}", check.why))?;
            if let Some(remedy) = &check.remedy {
                out.line(&format!("         do:  {}", redact(&printable(remedy))))?;
            }
        }
    }
    let count = |status| checks.iter().filter(|check| check.status == status).count();
    let (failures, warnings) = (count(CheckStatus::Failure), count(CheckStatus::Warning));
    out.line(&format!("{} checks: {failures} failures, {warnings} warnings", checks.len()))
}
