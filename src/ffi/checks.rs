//! Checks of a stream.

use super::cancel::{FES_FOREVER, fes_cancel_token, wait};
use super::{
    Done, Out, array, borrow, fes_error, fes_status, fes_stream, fes_text, fes_warehouse, guard,
    text,
};
use crate::doctor::DoctorOptions;
use crate::model::error::{Error, ErrorKind};
use crate::verify::VerifyOptions;
use serde::Serialize;
use std::ffi::c_char;

/// What `fes_stream_verify_json` looks at.
fn range(from_id: u64, to_id: u64, examples: usize) -> VerifyOptions {
    let options = VerifyOptions::new().from(from_id).examples(examples);
    if to_id == 0 { options } else { options.to(to_id) }
}

fn report_json(report: &impl Serialize) -> Done<fes_text> {
    let json = serde_json::to_string(report).map_err(|why| {
        Error::new(ErrorKind::Internal, format!("the report cannot be JSON: {why}"))
    })?;
    Ok(fes_text::new(json))
}

/// Accounts for every id of a range: its event is in the stream, in the history, in both and equal;
/// it was discarded or never committed; or something is wrong. Gives a JSON object. Ids are
/// strings:
/// `{"first","last","highest_id","complete":true,"in_queue":1,"in_both":0,"in_history":0,"never_committed":0,"gone":0,
/// "unsettled":0,"blocked":text|null,"findings":[{"kind","meaning","count","examples":[{"id","detail"}]}]}`.
/// All is well where `findings` is empty. Reads both tables once; others may write, archive and
/// discard meanwhile.
///
/// @param stream the stream
/// @param warehouse NULL, or the warehouse with its history
/// @param from_id the first id; 0 for the first one that there is
/// @param to_id the last id; 0 for the highest that was allocated
/// @param examples the most ids told of each finding
/// @param out gets the text, to be freed with `fes_text_free`
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_NOT_MIGRATED`, `FES_UNSAFE_SERVER`, `FES_PERMISSION_DENIED`,
///   those of both databases
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_stream_verify_json(
    stream: *const fes_stream,
    warehouse: *const fes_warehouse,
    from_id: u64,
    to_id: u64,
    examples: usize,
    out: *mut *mut fes_text,
    err: *mut *mut fes_error,
) -> fes_status {
    let (forever, nobody) = (FES_FOREVER, std::ptr::null());
    unsafe {
        fes_stream_verify_json_for(
            stream, warehouse, from_id, to_id, examples, forever, nobody, out, err,
        )
    }
}

/// As `fes_stream_verify_json`, but reads no further when its time is over. What was looked at by
/// then is told, `complete` is false, and another call goes on from the id `last` plus 1.
///
/// @param stream the stream
/// @param warehouse NULL, or the warehouse with its history
/// @param from_id the first id; 0 for the first one that there is
/// @param to_id the last id; 0 for the highest that was allocated
/// @param examples the most ids told of each finding
/// @param timeout_ms after how many milliseconds to end; `FES_FOREVER` has no end
/// @param cancel NULL, or a token that ends it
/// @param out gets the text, to be freed with `fes_text_free`
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: those of `fes_stream_verify_json`; `FES_CANCELLED`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_stream_verify_json_for(
    stream: *const fes_stream,
    warehouse: *const fes_warehouse,
    from_id: u64,
    to_id: u64,
    examples: usize,
    timeout_ms: u32,
    cancel: *const fes_cancel_token,
    out: *mut *mut fes_text,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let out = Out::handle(out)?;
        let stream = &borrow(stream, "stream")?.0;
        let warehouse = warehouse.as_ref().map(|warehouse| &warehouse.0);
        let options = range(from_id, to_id, examples);
        let wait = wait(timeout_ms, cancel);
        let report = wait.run(|| stream.verify_while(warehouse, &options, |_| wait.goes_on()))?;
        if !report.complete {
            wait.check()?;
        }
        out.give(report_json(&report)?);
        Ok(())
    })
}

/// Looks at the database, its settings and the rights of this database user, before something is
/// lost. Gives a JSON array of
/// `{"name","status":"ok"|"unknown"|"warning"|"failure","seen","why","remedy":text|null}`: what was
/// seen, why it matters, and the statement or option that mends it. All is well where no `status`
/// is `failure`. Makes connections of its own and changes nothing.
///
/// @param stream the stream
/// @param warehouse NULL, or a warehouse that is looked at, too
/// @param roles an array of `role_count` roles of docs/grants.md that are looked at, each ended by
///   a NUL: `generator`, `consumer`, `archiver`, `discarder`. Of a role that is named a missing
///   right is a failure, else a warning. NULL for 0
/// @param role_count how many they are; 0 for all roles
/// @param out gets the text, to be freed with `fes_text_free`
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_INVALID_ARGUMENT` for another role, `FES_CLOSED`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_stream_doctor_json(
    stream: *const fes_stream,
    warehouse: *const fes_warehouse,
    roles: *const *const c_char,
    role_count: usize,
    out: *mut *mut fes_text,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let out = Out::handle(out)?;
        let stream = &borrow(stream, "stream")?.0;
        let warehouse = warehouse.as_ref().map(|warehouse| &warehouse.0);
        let mut options = DoctorOptions::new();
        for role in array(roles, role_count, "roles")? {
            options = options.role(text(*role, "a role")?)?;
        }
        out.give(report_json(&stream.doctor(warehouse, &options)?)?);
        Ok(())
    })
}
