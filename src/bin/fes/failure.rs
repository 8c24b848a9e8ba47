//! What can go wrong, how it is told, and with which code the command ends.

use crate::printable::printable_lines;
use futoin_eventstream::{Error, ErrorKind};
use std::io;
use std::process::ExitCode;

/// Why a command did not do all that it was asked for.
#[derive(Debug)]
pub enum Failure {
    /// An error of the library, prefixed with the operation, which may be empty.
    Library(String, Error),
    /// Anything else that does not go away by trying again.
    Other(String),
    /// The arguments do not fit together.
    Usage(String),
    /// A check found something wrong, and has told it.
    Found,
    /// A signal asked for the end.
    Interrupted,
    /// Nobody reads standard output any more. That is no error: `fes tail | head -1`.
    Closed,
}

pub type Result<T = ()> = std::result::Result<T, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Library(String::new(), error)
    }
}

/// Errors of writing to standard output.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::Closed,
            _ => Failure::Other(format!("cannot write: {error}")),
        }
    }
}

impl Failure {
    /// The code of the process.
    pub fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Failure::Closed => 0,
            Failure::Library(_, error) if is_usage(error.kind()) => 2,
            Failure::Library(_, error) if error.is_retriable() => 3,
            Failure::Library(..) | Failure::Other(_) => 1,
            Failure::Usage(_) => 2,
            Failure::Found => 4,
            Failure::Interrupted => 130,
        })
    }

    /// The text for standard error, if there is something to say.
    pub fn text(&self) -> Option<String> {
        // Control characters in texts of a database or an argument are shown, not sent to the terminal.
        self.plain_text().map(|text| printable_lines(&text))
    }

    fn plain_text(&self) -> Option<String> {
        match self {
            Failure::Closed | Failure::Found | Failure::Interrupted => None,
            Failure::Library(doing, error) => {
                let hint = hint(error.kind()).unwrap_or_default();
                Some(redact(&format!("error: {doing}{error} ({}){hint}", error.kind().name())))
            }
            Failure::Other(text) => Some(redact(&format!("error: {text}"))),
            Failure::Usage(text) => {
                Some(redact(&format!("error: {text}\n\nFor more information, try '--help'.")))
            }
        }
    }
}

/// A fault of the arguments, found before any database was asked.
fn is_usage(kind: ErrorKind) -> bool {
    use ErrorKind::*;
    matches!(
        kind,
        InvalidType | InvalidComponent | InvalidUser | IdentTooLong | InvalidOption | InvalidUrl
    )
}

fn hint(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::NotMigrated => Some("\n  make the tables by: fes migrate"),
        ErrorKind::CorruptEvent => Some(
            "\n  see it by: fes skip --user USER --component COMPONENT; pass over it with its id",
        ),
        ErrorKind::NotRegistered => {
            Some("\n  register it by: fes register --user USER --component COMPONENT")
        }
        _ => None,
    }
}

/// The library's help about URLs, whose examples hold no password.
const FORMS: &str = "the forms are sqlite:file.db, sqlite:///absolute/file.db, sqlite::memory:, \
                     postgres://user:password@host:port/database and \
                     mysql://user:password@host:port/database, also with several hosts, as in \
                     host:port,host:port";

/// Replaces the passwords of URLs by `***`; the library's own help stays as it is.
pub fn redact(text: &str) -> String {
    text.split(FORMS).map(hide).collect::<Vec<_>>().join(FORMS)
}

fn hide(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        // The whole line: a password that was not percent-encoded may hold anything.
        let end = after.find('\n').unwrap_or(after.len());
        let (line, tail) = after.split_at(end);
        match line.rsplit_once('@').map(|(login, host)| (login.split_once(':'), host)) {
            Some((Some((user, _)), host)) => out.push_str(&format!("{user}:***@{host}")),
            _ => out.push_str(line),
        }
        rest = tail;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_of_urls_are_not_shown() {
        for (text, shown) in [
            ("a postgres://u:pw@h/d b", "a postgres://u:***@h/d b"),
            ("'mysql://u:p@w/:x@h:1/d'", "'mysql://u:***@h:1/d'"),
            ("x://:p w@h\ny://u:q@i/", "x://:***@h\ny://u:***@i/"),
            ("a@b x://u:p@h c@d", "a@b x://u:***@d"),
            ("postgres://h:5432/d", "postgres://h:5432/d"),
            ("sqlite:///a.db", "sqlite:///a.db"),
            ("", ""),
        ] {
            assert_eq!(redact(text), shown);
        }
    }

    #[test]
    fn the_help_about_urls_is_shown_as_it_is_and_no_password_beside_it() {
        let error = futoin_eventstream::EventStream::open("nonsense").err().unwrap();
        let text = Failure::from(error).text().unwrap();
        assert!(text.contains(FORMS), "{text}");
        let text = redact(&format!("x://u:pw@h; {FORMS} y://u:pw@i"));
        assert_eq!(text, format!("x://u:***@h; {FORMS} y://u:***@i"));
    }

    #[test]
    fn what_a_database_holds_is_shown_and_not_acted_on() {
        let text = Failure::Other("a\u{1b}[2J\u{202e}\nb".to_owned()).text().unwrap();
        assert_eq!(text, "error: a\\u{1b}[2J\\u{202e}\nb");
    }
}
