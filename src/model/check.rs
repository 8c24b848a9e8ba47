//! The checks of the doctor, and how they turn out.

use crate::model::error::Result;
use serde::Serialize;

/// How a [`Check`] turned out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckStatus {
    /// All is well.
    Ok,
    /// The check could not be made, for the reason that stands in `seen`.
    Unknown,
    /// Nothing is lost by it today.
    Warning,
    /// Events can be lost, or are not delivered, or the work of a role that was asked for is refused.
    Failure,
}

impl CheckStatus {
    /// The status in JSON: `ok`, `unknown`, `warning` or `failure`.
    pub fn as_str(self) -> &'static str {
        match self {
            CheckStatus::Ok => "ok",
            CheckStatus::Unknown => "unknown",
            CheckStatus::Warning => "warning",
            CheckStatus::Failure => "failure",
        }
    }
}

/// One thing that was looked at. Serialises as a JSON object of these fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Check {
    /// Its name, for example `clock`.
    pub name: String,
    /// How it turned out.
    pub status: CheckStatus,
    /// What was seen.
    pub seen: String,
    /// Why it matters.
    pub why: String,
    /// The statement, or the option, that mends it.
    pub remedy: Option<String>,
}

/// What a check comes to: the status, what was seen, what mends it.
pub(crate) type Seen = (CheckStatus, String, Option<String>);

/// What a check comes to, or why it could not be made.
pub(crate) type Outcome = Result<Seen>;

pub(crate) fn ok(seen: impl Into<String>) -> Outcome {
    Ok((CheckStatus::Ok, seen.into(), None))
}

pub(crate) fn warning(seen: impl Into<String>, remedy: impl Into<String>) -> Outcome {
    Ok((CheckStatus::Warning, seen.into(), Some(remedy.into())))
}

pub(crate) fn failure(seen: impl Into<String>, remedy: impl Into<String>) -> Outcome {
    Ok((CheckStatus::Failure, seen.into(), Some(remedy.into())))
}
