//! Opaque ids: `h:` and 18 random characters of `[0-9A-Za-z]`, as all of Zhylon's are.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Characters after `h:`.
pub const BARE_LEN: usize = 18;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// What an id names; keeps a server's id from being used as a daemon's.
pub trait Kind {
    /// The word for it in error texts.
    const WORD: &'static str;
}

/// An opaque id of a `K`.
pub struct Id<K> {
    bare: [u8; BARE_LEN],
    kind: PhantomData<fn() -> K>,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident, $id:ident, $word:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub enum $kind {}
        impl Kind for $kind { const WORD: &'static str = $word; }
        #[doc = concat!("Id of a ", $word, ".")]
        pub type $id = Id<$kind>;
    )*};
}

kinds! {
    /// A team.
    TeamKind, TeamId, "team";
    /// A user.
    UserKind, UserId, "user";
    /// A server.
    ServerKind, ServerId, "server";
    /// A daemon.
    DaemonKind, DaemonId, "daemon";
    /// An API token.
    TokenKind, TokenId, "token";
    /// An enrolment token.
    EnrollmentKind, EnrollmentId, "enrollment token";
    /// An event of a daemon.
    EventKind, EventId, "event";
}

/// A text that is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an id: expected `h:` and 18 characters of [0-9A-Za-z]")]
pub struct NotAnId;

impl<K> Id<K> {
    /// A new random id (107 bits from the operating system).
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bare = [0; BARE_LEN];
        fill_alphanumeric(&mut bare)?;
        Ok(Self {
            bare,
            kind: PhantomData,
        })
    }

    /// The part after `h:`, for places where a `:` is not welcome (file names, cgroups, certificates).
    #[must_use]
    pub fn bare(&self) -> &str {
        std::str::from_utf8(&self.bare).unwrap_or_default()
    }

    /// Reads the part after `h:`.
    ///
    /// # Errors
    /// When it is not 18 characters of `[0-9A-Za-z]`.
    pub fn from_bare(text: &str) -> Result<Self, NotAnId> {
        let bare: [u8; BARE_LEN] = text.as_bytes().try_into().map_err(|_| NotAnId)?;
        if bare.iter().all(u8::is_ascii_alphanumeric) {
            Ok(Self {
                bare,
                kind: PhantomData,
            })
        } else {
            Err(NotAnId)
        }
    }
}

/// Fills `out` with characters of `[0-9A-Za-z]`, uniformly, from the operating system.
///
/// # Errors
/// When the operating system has no randomness to give.
pub fn fill_alphanumeric(out: &mut [u8]) -> Result<(), getrandom::Error> {
    let mut filled = 0;
    let mut pool = [0u8; 64];
    while filled < out.len() {
        getrandom::fill(&mut pool)?;
        // 248 = 4 * 62: bytes above it are thrown away, so that every character is equally likely.
        for byte in pool.iter().filter(|byte| **byte < 248) {
            if filled == out.len() {
                break;
            }
            out[filled] = ALPHABET[usize::from(byte % 62)];
            filled += 1;
        }
    }
    Ok(())
}

impl<K> FromStr for Id<K> {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        Self::from_bare(text.strip_prefix("h:").ok_or(NotAnId)?)
    }
}

impl<K> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("h:{}", self.bare()))
    }
}

impl<K> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "h:{}", self.bare())
    }
}

// Derived implementations would ask the same of `K`, which is only a name.
impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for Id<K> {}
impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.bare == other.bare
    }
}
impl<K> Eq for Id<K> {}
impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.bare.cmp(&other.bare)
    }
}
impl<K> std::hash::Hash for Id<K> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.bare.hash(state);
    }
}
impl<K> Serialize for Id<K> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
impl<'de, K> Deserialize<'de> for Id<K> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let id = DaemonId::random().unwrap();
        assert_eq!(id.to_string().parse::<DaemonId>().unwrap(), id);
        assert_eq!(DaemonId::from_bare(id.bare()).unwrap(), id);
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(serde_json::from_str::<DaemonId>(&json).unwrap(), id);
        assert_ne!(DaemonId::random().unwrap(), id);
    }

    #[test]
    fn refuses_what_is_not_an_id() {
        for text in [
            "",
            "h:",
            "H3hxDfKZE0mHsxTqwN",
            "h:H3hxDfKZE0mHsxTqw",
            "h:H3hxDfKZE0mHsxTqwNN",
            "h:H3hxDfKZE0mHsxTqw/",
            "h:H3hxDfKZE0mHsxTqw\u{e4}",
            " h:H3hxDfKZE0mHsxTqwN",
        ] {
            assert_eq!(text.parse::<DaemonId>(), Err(NotAnId), "{text}");
        }
    }
}
