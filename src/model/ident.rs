//! Who consumes: component, ident (FTN18 section 2.2), and which event types are wanted.

use crate::model::error::{Result, fail};
use crate::model::event::{EventType, shorten};
use std::fmt;

/// The component name of consumers that never register and may be skipped ahead.
pub const LIVE: &str = "LIVE";

/// The user of this library's own workers, such as the archiver.
pub const INTERNAL_USER: &str = "-internal";

const MAX_COMPONENT_LEN: usize = 16;
const MAX_IDENT_LEN: usize = 64;
const MAX_WANT: usize = 1000;

/// Refuses to read at most 0 events, which is a mistake of the caller's arithmetic.
pub(crate) fn check_limit(limit: usize) -> Result<()> {
    match limit {
        0 => fail!(InvalidArgument, "the limit must be at least 1 event"),
        _ => Ok(()),
    }
}

/// A consumer's name within its user: `^[A-Za-z0-9_]{1,16}$`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Component(String);

impl Component {
    /// Checks the name.
    ///
    /// # Errors
    /// [`InvalidComponent`](crate::ErrorKind::InvalidComponent), naming the text.
    ///
    /// ```
    /// use futoin_eventstream::Component;
    /// assert!(Component::new("Security").is_ok());
    /// assert!(Component::new("no-dash").is_err());
    /// ```
    pub fn new(name: &str) -> Result<Self> {
        let valid = (1..=MAX_COMPONENT_LEN).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !valid {
            fail!(
                InvalidComponent,
                "component {:?} is not 1 to 16 letters, digits or underscores",
                shorten(name)
            );
        }
        Ok(Component(name.to_owned()))
    }

    /// Whether this is `LIVE`.
    pub fn is_live(&self) -> bool {
        self.0 == LIVE
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `user:component`, at most 64 characters: the key of a registered consumer.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Ident(String);

impl Ident {
    /// Joins a user and a component.
    ///
    /// A user is printable ASCII without space and `:`, for example `app` or `joe@example.com`.
    ///
    /// # Errors
    /// [`InvalidUser`](crate::ErrorKind::InvalidUser),
    /// [`IdentTooLong`](crate::ErrorKind::IdentTooLong).
    pub fn new(user: &str, component: &Component) -> Result<Self> {
        if user.is_empty() || !user.bytes().all(|b| b.is_ascii_graphic() && b != b':') {
            fail!(
                InvalidUser,
                "user {:?} is not one or more printable ASCII characters other than ':'",
                shorten(user)
            );
        }
        let ident = format!("{user}:{}", component.as_str());
        if ident.len() > MAX_IDENT_LEN {
            fail!(
                IdentTooLong,
                "ident {:?} has {} characters, more than the {MAX_IDENT_LEN} allowed: choose a \
                 shorter user",
                shorten(&ident),
                ident.len()
            );
        }
        Ok(Ident(ident))
    }

    /// An ident as it stands in the table, whoever wrote it.
    pub(crate) fn stored(text: String) -> Self {
        Ident(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The set of event types a consumer asks for; [`Want::all`] asks for every event.
///
/// ```
/// use futoin_eventstream::Want;
/// let want = Want::types(&["USR_MOD", "USR_ADD", "USR_ADD"]).unwrap();
/// assert_eq!(want.names().unwrap(), ["USR_ADD", "USR_MOD"]);
/// assert!(Want::all().names().is_none());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Want(Option<Vec<EventType>>);

impl Want {
    /// Every event.
    pub fn all() -> Self {
        Want(None)
    }

    /// The events of these types only. At most 1000 types.
    ///
    /// # Errors
    /// [`InvalidType`](crate::ErrorKind::InvalidType) for a type that no event can have,
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for an empty list (it would never
    /// give anything: use [`Want::all`]) or too many.
    pub fn types<S: AsRef<str>>(types: &[S]) -> Result<Self> {
        if types.is_empty() || types.len() > MAX_WANT {
            fail!(
                InvalidArgument,
                "want has {} types, not 1 to {MAX_WANT}; leave it out to get all events",
                types.len()
            );
        }
        let mut list = types
            .iter()
            .map(|name| EventType::new(name.as_ref()))
            .collect::<Result<Vec<EventType>>>()?;
        list.sort();
        list.dedup();
        Ok(Want(Some(list)))
    }

    /// The wanted types in order, or `None` for all.
    pub fn names(&self) -> Option<Vec<&str>> {
        self.0.as_ref().map(|list| list.iter().map(EventType::as_str).collect())
    }

    /// Whether an event of this type is wanted. Types compare byte by byte on every database.
    pub fn matches(&self, event_type: &EventType) -> bool {
        self.0.as_ref().is_none_or(|list| list.binary_search(event_type).is_ok())
    }

    /// The wanted types, or `None` for all.
    pub(crate) fn list(&self) -> Option<&[EventType]> {
        self.0.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::error::ErrorKind;
    use proptest::prelude::*;

    #[test]
    fn idents_are_bounded() {
        let component = Component::new("Sixteen_letters_").unwrap();
        assert_eq!(Ident::new(&"u".repeat(47), &component).unwrap().as_str().len(), 64);
        let long = Ident::new(&"u".repeat(48), &component).unwrap_err();
        assert_eq!(long.kind(), ErrorKind::IdentTooLong);
        for user in ["", "a:b", "a b", "é", "a\n"] {
            assert_eq!(Ident::new(user, &component).unwrap_err().kind(), ErrorKind::InvalidUser);
        }
    }

    #[test]
    fn want_refuses_an_empty_list() {
        let empty: [&str; 0] = [];
        assert_eq!(Want::types(&empty).unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert_eq!(Want::types(&["a"]).unwrap_err().kind(), ErrorKind::InvalidType);
    }

    proptest! {
        #[test]
        fn only_components_of_the_pattern_are_accepted(text in "[A-Za-z0-9_é -]{0,20}") {
            let valid = !text.is_empty() && text.len() <= 16
                && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            prop_assert_eq!(Component::new(&text).is_ok(), valid);
        }
    }
}
