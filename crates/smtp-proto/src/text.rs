//! Newtypes over text that cannot carry a line break, so nothing built from them can inject a command.

use std::borrow::Cow;
use std::fmt;

use crate::class::{BASE64, KEYWORD, PRINT, VALUE};

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

            /// `text` is known to fit.
            #[allow(dead_code, reason = "not every type needs it")]
            pub(crate) fn trusted(text: Cow<'a, str>) -> Self {
                Self(text)
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
        impl<'de> serde::Deserialize<'de> for $name<'_> {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(d)?;
                Self::new(text).map_err(serde::de::Error::custom)
            }
        }
    };
}

/// Printable, and no control character that only a full decoding shows (U+0080 to U+009F).
fn is_printable(s: &str) -> bool {
    PRINT.wide().is_all(s) && (s.is_ascii() || !s.chars().any(char::is_control))
}

text_type! {
    /// One or more printable characters and spaces, with no blank at either end (RFC 5321 §4.1.2 `String`).
    Text, |s| !s.is_empty() && !s.starts_with(' ') && !s.ends_with(' ') && is_printable(s)
}

text_type! {
    /// The name a client gives in EHLO, HELO or LHLO: printable ASCII, without blanks.
    ///
    /// RFC 5321 §4.1.1.1 wants a domain or an address literal, and §4.1.4 forbids refusing mail over a wrong
    /// one; so whatever is printable is taken. Names in other scripts come as A-labels (RFC 6531 §3.7.1).
    ClientName, |s| !s.is_empty() && s.bytes().all(|b| b.is_ascii_graphic())
}

text_type! {
    /// A URL that BURL names (RFC 4468): printable ASCII, without blanks. What it means is for a crate of URLs to say.
    Url, |s| !s.is_empty() && s.bytes().all(|b| b.is_ascii_graphic())
}

text_type! {
    /// A keyword: letters, digits, `-` and `_` (extension names, parameter names, SASL mechanisms).
    Keyword, |s| !s.is_empty() && KEYWORD.is_all(s)
}

text_type! {
    /// A parameter's value: printable, without blanks and `=` (RFC 5321 §4.1.2 `esmtp-value`).
    Value, |s| !s.is_empty() && VALUE.wide().is_all(s) && is_printable(s)
}

/// Bytes that never show in `Debug` output: passwords and SASL messages.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<'a>(Cow<'a, str>);

impl<'a> Secret<'a> {
    /// Wraps base64 text as it stands on the wire; `None` where it holds other than base64's characters.
    pub fn new(base64: impl Into<Cow<'a, str>>) -> Option<Self> {
        let base64 = base64.into();
        BASE64.is_all(&base64).then_some(Self(base64))
    }

    /// `base64` is known to fit.
    pub(crate) fn trusted(base64: &'a str) -> Self {
        Self(Cow::Borrowed(base64))
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

/// Serialized as it is: serde is for queues and configuration, `Debug` for logs.
#[cfg(feature = "serde")]
impl serde::Serialize for Secret<'_> {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Secret<'_> {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <String as serde::Deserialize>::deserialize(d)?;
        Self::new(text).ok_or_else(|| serde::de::Error::custom("not base64"))
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
            assert!(Value::new(bad).is_err() && Url::new(bad).is_err(), "{bad:?}");
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
