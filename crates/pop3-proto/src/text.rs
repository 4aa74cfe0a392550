//! Newtypes over text that cannot carry a line break, so nothing built from them can inject a command.

use std::borrow::Cow;
use std::fmt;

/// Text that may not stand where it was put; nothing was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} may not hold this text")]
pub struct InvalidText {
    /// Which type refused it.
    pub what: &'static str,
}

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name<'a>(Cow<'a, str>);

        impl<'a> $name<'a> {
            /// Checks `text` and wraps it.
            pub fn new(text: impl Into<Cow<'a, str>>) -> Result<Self, InvalidText> {
                let text = text.into();
                let fits: fn(&str) -> bool = $check;
                if fits(&text) { Ok(Self(text)) } else { Err(InvalidText { what: stringify!($name) }) }
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The same, owning its text.
            pub fn into_owned(self) -> $name<'static> {
                $name(Cow::Owned(self.0.into_owned()))
            }
        }

        impl fmt::Debug for $name<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl fmt::Display for $name<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        #[cfg(feature = "serde")]
        impl serde::Serialize for $name<'_> {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }

        #[cfg(feature = "serde")]
        impl<'de> serde::Deserialize<'de> for $name<'_> {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(d)?;
                Self::new(text).map_err(serde::de::Error::custom)
            }
        }
    };
}

text_type! {
    /// One or more printable characters, with no blank at either end: a user name, a line of CAPA.
    Text, |s| !s.is_empty() && s.trim_matches([' ', '\t']) == s && !s.chars().any(|c| c.is_control())
}

text_type! {
    /// A word: printable ASCII without blanks (a keyword, a SASL mechanism, a language tag, an APOP digest).
    Word, |s| !s.is_empty() && s.bytes().all(|b| b.is_ascii_graphic())
}

text_type! {
    /// What UIDL names a message by: 1 to 70 characters from 0x21 to 0x7E (RFC 1939 §7).
    UniqueId, |s| (1..=70).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_graphic())
}

impl<'a> UniqueId<'a> {
    /// Of any length, as some servers have them ([`crate::Quirks::LONG_UNIQUE_IDS`]); serde takes none longer than 70.
    pub fn of_any_length(text: impl Into<Cow<'a, str>>) -> Result<Self, InvalidText> {
        let text = text.into();
        let fits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        if fits { Ok(Self(text)) } else { Err(InvalidText { what: "UniqueId" }) }
    }
}

/// Octets that never show in `Debug` output: passwords and SASL messages. Without CR, LF and NUL.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<'a>(Cow<'a, [u8]>);

impl<'a> Secret<'a> {
    /// Checks the octets and wraps them.
    pub fn new(octets: impl Into<Cow<'a, [u8]>>) -> Result<Self, InvalidText> {
        let octets = octets.into();
        if octets.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)) {
            return Err(InvalidText { what: "Secret" });
        }
        Ok(Self(octets))
    }

    /// The octets, on purpose under a name that shows in review.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The same, owning its octets.
    pub fn into_owned(self) -> Secret<'static> {
        Secret(Cow::Owned(self.0.into_owned()))
    }
}

impl fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// Serialized as it is: serde is for queues and configuration, `Debug` for logs.
#[cfg(feature = "serde")]
impl serde::Serialize for Secret<'_> {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(&self.0)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Secret<'_> {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let octets = <Vec<u8> as serde::Deserialize>::deserialize(d)?;
        Self::new(octets).map_err(serde::de::Error::custom)
    }
}

/// Whether `text` could be base64: its alphabet and padding, nothing else.
pub(crate) fn looks_like_base64(text: &[u8]) -> bool {
    text.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_type_takes_a_line_break() {
        for bad in ["a\r\nQUIT", "a\nb", "a\rb", "a\0b"] {
            assert!(Text::new(bad).is_err(), "{bad:?}");
            assert!(Word::new(bad).is_err(), "{bad:?}");
            assert!(UniqueId::new(bad).is_err(), "{bad:?}");
            assert!(Secret::new(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_long_unique_id_is_graphic_as_well() {
        assert!(UniqueId::of_any_length("x".repeat(288)).is_ok());
        assert!(["", "a b", "a\r\n", "é"].into_iter().all(|bad| UniqueId::of_any_length(bad).is_err()));
    }

    #[test]
    fn a_unique_id_has_1_to_70_graphic_characters() {
        assert!(UniqueId::new("~!M42.H7").is_ok());
        assert!(UniqueId::new("x".repeat(70)).is_ok());
        for bad in [String::new(), "x".repeat(71), "a b".into(), "é".into()] {
            assert!(UniqueId::new(bad).is_err());
        }
    }
}
