//! Options of a stream, and the names of its tables.
//!
//! Options are strings, so that they read the same in a URL, in the environment and in every
//! language. [`OPTIONS`] is the one list of them; `docs/options.md` is made from it.

pub(crate) mod location;
mod option_spec;
mod options;
pub(crate) mod settings;
mod table_name;
pub(crate) mod url;

use crate::model::error::Result;
pub use option_spec::{OptionScope, OptionSpec, OptionValues};
pub use options::OPTIONS;
pub(crate) use settings::Settings;
pub(crate) use table_name::TableName;

/// Options that differ from their defaults.
///
/// ```
/// use futoin_eventstream::{ErrorKind, Options};
/// let options = Options::new().set("max_connections", "4").unwrap();
/// let unknown = Options::new().set("max_conections", "4").unwrap_err();
/// assert_eq!(unknown.kind(), ErrorKind::InvalidOption);
/// ```
///
/// # All options
///
#[doc = include_str!("../../docs/options.md")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    settings: Settings,
    /// What was set, each option once.
    given: Vec<(String, String)>,
}

impl Options {
    /// All defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets one option.
    ///
    /// # Errors
    /// [`InvalidOption`](crate::ErrorKind::InvalidOption) for an unknown name, naming the nearest, or a value that makes
    /// no sense.
    pub fn set(mut self, name: &str, value: &str) -> Result<Self> {
        self.settings.set(name, value)?;
        // Once each: whoever changes one before every call does not make the list longer.
        match self.given.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => value.clone_into(known),
            None => self.given.push((name.to_owned(), value.to_owned())),
        }
        Ok(self)
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// `base` with what was set here.
    pub(crate) fn over(&self, base: &Settings) -> Settings {
        let mut settings = base.clone();
        for (name, value) in &self.given {
            // Was accepted before.
            let _ = settings.set(name, value);
        }
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_option_that_is_set_again_takes_the_place_of_itself() {
        let mut options = Options::new();
        for number in 1..=1000 {
            options = options.set("queue_max", &number.to_string()).unwrap();
            options = options.set("max_connections", "4").unwrap();
        }
        assert_eq!(options.given.len(), 2);
        let settings = options.over(&Settings::default());
        assert_eq!((settings.queue_max, settings.max_connections), (1000, 4));
    }

    proptest! {
        #[test]
        fn no_option_value_panics(index in 0..OPTIONS.len(), value in ".{0,30}") {
            let _ = Options::new().set(OPTIONS[index].name, &value);
        }
    }
}
