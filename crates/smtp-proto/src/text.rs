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

        impl AsRef<str> for $name<'_> {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        #[cfg(feature = "serde")]
        impl serde::Serialize for $name<'_> {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }

        #[cfg(feature = "serde")]
        impl<'de> serde::Deserialize<'de> for $name<'static> {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(d)?;
                Self::new(text).map_err(serde::de::Error::custom)
            }
        }
    };
}

text_type! {
    /// One or more printable characters and spaces, with no blank at either end (RFC 5321 §4.1.2 `String`).
    Text, |s| !s.is_empty() && s.trim_matches([' ', '\t']) == s && !s.chars().any(|c| c.is_control())
}

text_type! {
    /// The name a client gives in EHLO, HELO or LHLO: printable, without blanks.
    ///
    /// RFC 5321 §4.1.1.1 wants a domain or an address literal, and §4.1.4 forbids refusing mail over a wrong
    /// one; so whatever is printable is taken.
    ClientName, |s| !s.is_empty() && !s.chars().any(|c| c.is_control() || c == ' ')
}

text_type! {
    /// A keyword: letters, digits, `-` and `_` (extension names, parameter names, SASL mechanisms).
    Keyword, |s| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

text_type! {
    /// A parameter's value: printable, without blanks and `=` (RFC 5321 §4.1.2 `esmtp-value`).
    Value, |s| !s.is_empty() && !s.chars().any(|c| c.is_control() || c == ' ' || c == '=')
}

/// Bytes that never show in `Debug` output: passwords and SASL messages.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<'a>(Cow<'a, str>);

impl<'a> Secret<'a> {
    /// Wraps base64 text as it stands on the wire; `None` where it holds other than base64's characters.
    pub fn new(base64: impl Into<Cow<'a, str>>) -> Option<Self> {
        let base64 = base64.into();
        let fits = base64.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='));
        fits.then_some(Self(base64))
    }

    /// The base64 text, on purpose under a name that shows in review.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The same, owning its text.
    pub fn into_owned(self) -> Secret<'static> {
        Secret(Cow::Owned(self.0.into_owned()))
    }
}

impl fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_type_takes_a_line_break() {
        for bad in ["a\r\nQUIT", "a\nb", "a\rb", "a\0b", ""] {
            assert!(Text::new(bad).is_err(), "{bad:?}");
            assert!(ClientName::new(bad).is_err(), "{bad:?}");
            assert!(Keyword::new(bad).is_err(), "{bad:?}");
            assert!(Value::new(bad).is_err(), "{bad:?}");
        }
        assert!(Secret::new("YQ==\r\n").is_none());
    }

    #[test]
    fn a_secret_does_not_show_in_debug() {
        let secret = Secret::new("AGFsaWNlAHNlY3JldA==").unwrap();
        assert_eq!(format!("{secret:?}"), "<redacted>");
        assert_eq!(secret.expose(), "AGFsaWNlAHNlY3JldA==");
    }
}
