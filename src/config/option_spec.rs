//! What describes an option, and checks its values.

use super::OPTIONS;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::event::shorten;
use OptionValues::*;

/// What an option is for, and so where it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OptionScope {
    /// The stream as a whole.
    Stream,
    /// The connections of a stream or a warehouse.
    Connection,
    /// What the consumers of a stream may do, and how much they get at once.
    Consumer,
    /// What is pushed to one consumer.
    Subscription,
    /// A receiver, which has a subscription.
    Receiver,
    /// The database of the history.
    Warehouse,
    /// What copies the stream to the history.
    Archiver,
    /// What deletes what everybody has acknowledged.
    Discarder,
    /// Everything from one configuration.
    ServiceApp,
}

impl OptionScope {
    /// All of them, in the order of the documentation.
    pub const ALL: [OptionScope; 9] = [
        OptionScope::Stream,
        OptionScope::Connection,
        OptionScope::Consumer,
        OptionScope::Subscription,
        OptionScope::Receiver,
        OptionScope::Warehouse,
        OptionScope::Archiver,
        OptionScope::Discarder,
        OptionScope::ServiceApp,
    ];

    /// Where an option of this scope is given, in one sentence.
    pub fn given(self) -> &'static str {
        match self {
            OptionScope::Stream => "Given when the stream is opened, or in its URL.",
            OptionScope::Connection => {
                "Given when a stream or a warehouse is opened, or in its URL: each has its own connections."
            }
            OptionScope::Consumer => {
                "Given when the stream is opened, or in its URL; they hold for all its consumers."
            }
            OptionScope::Subscription => {
                "Given with a subscription or a receiver. What is not given there is as the stream was opened."
            }
            OptionScope::Receiver => "Given with a receiver, with those of its subscription.",
            OptionScope::Warehouse => "Given when the warehouse is opened, or in its URL.",
            OptionScope::Archiver => "Given with the archiver, or to the service app.",
            OptionScope::Discarder => "Given with the discarder, or to the service app.",
            OptionScope::ServiceApp => "Given to the service app, and to `fes run`.",
        }
    }
}

/// What the text of an option may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OptionValues {
    /// `true` or `1`, `false` or `0`.
    Flag,
    /// The same, or this word.
    FlagOr(&'static str),
    /// A whole number from the first one to the last one.
    Number(u64, u64),
    /// The same, or 0.
    ZeroOr(u64, u64),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// `name` or `schema.name`, each of at most 48 letters, digits and underscores, and not beginning with a
    /// digit.
    Table,
}

impl std::fmt::Display for OptionValues {
    /// As a message or a table says it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Flag => f.write_str("`true` or `false`"),
            FlagOr(word) => write!(f, "`{word}`, `true` or `false`"),
            Number(low, high) => write!(f, "{low} to {high}"),
            ZeroOr(low, high) => write!(f, "0, or {low} to {high}"),
            OneOf(words) => {
                let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
                f.write_str(&words.join(" or "))
            }
            Table => f.write_str("`name` or `schema.name`"),
        }
    }
}

/// One option.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct OptionSpec {
    /// The key for [`Options::set`](crate::Options::set).
    pub name: &'static str,
    /// What it is for, and so where it is given.
    pub scope: OptionScope,
    /// The databases on which it matters: `all`, `servers`, `SQLite` or `PostgreSQL`.
    pub databases: &'static str,
    /// What it may be.
    pub values: OptionValues,
    /// The unit of a number: `ms`, `s`, `bytes`, `events` and others. Empty where there is none.
    pub unit: &'static str,
    /// The value it has when it is not set.
    pub default: &'static str,
    /// What it means.
    pub help: &'static str,
}

impl OptionSpec {
    pub(super) fn find(name: &str) -> Option<&'static OptionSpec> {
        OPTIONS.iter().find(|spec| spec.name == name)
    }

    /// The error of a value that the option cannot have.
    pub(super) fn refuse(&self, value: &str) -> Error {
        let allowed = match self.values {
            Number(..) | ZeroOr(..) => format!("a whole number: {}", self.values),
            Table => {
                "a table name: `name` or `schema.name` of letters, digits and underscores, not \
                      starting with a digit, at most 48 characters each"
                    .to_owned()
            }
            _ => self.values.to_string(),
        };
        let text = format!("option {} is {:?}, not {allowed}", self.name, shorten(value));
        Error::new(ErrorKind::InvalidOption, text)
    }

    /// A number within its range.
    pub(super) fn number<T: TryFrom<u64>>(&self, value: &str) -> Result<T> {
        let is_allowed = |number: &u64| match self.values {
            Number(low, high) => (low..=high).contains(number),
            ZeroOr(low, high) => *number == 0 || (low..=high).contains(number),
            _ => false,
        };
        let number = value.parse().ok().filter(is_allowed);
        number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| self.refuse(value))
    }

    pub(super) fn flag(&self, value: &str) -> Result<bool> {
        match value {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(self.refuse(value)),
        }
    }

    /// A flag; `None` for the word that may stand in its place.
    pub(super) fn flag_or_word(&self, value: &str) -> Result<Option<bool>> {
        match self.values {
            FlagOr(word) if word == value => Ok(None),
            _ => self.flag(value).map(Some),
        }
    }

    /// What the words of the option mean, in their order.
    pub(super) fn one_of<T: Copy, const N: usize>(&self, value: &str, means: [T; N]) -> Result<T> {
        let words = match self.values {
            OneOf(words) => words,
            _ => &[],
        };
        let place = words.iter().position(|word| *word == value);
        place.and_then(|place| means.get(place).copied()).ok_or_else(|| self.refuse(value))
    }
}
