//! Deviations from the grammar that real peers are known for.

use std::fmt;
use std::ops::BitOr;

/// Which known deviations parse: a set, made with `|`. Each was reported against a real server or client; what follows a
/// quirk's meaning is where. All of them are unambiguous: nothing that is valid by the RFCs changes its meaning. All but `BARE_LF` concern
/// the parsers alone.
///
/// ```
/// # use posthaste_imap_proto::Quirks;
/// let quirks = Quirks::SERVER | Quirks::TRAILING_SPACE;
/// assert!(quirks.contains(Quirks::RAW_8BIT) && !quirks.contains(Quirks::NIL_MEDIA));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quirks(u32);

impl Quirks {
    /// The RFCs to the letter.
    pub const NONE: Quirks = Quirks(0);

    /// What a server needs: clients send passwords and mailbox names in raw 8 bit, and days of one digit.
    pub const SERVER: Quirks = Quirks(Self::RAW_8BIT.0 | Self::ONE_DIGIT_DAY.0);

    /// What a client needs: everything but [`BARE_LF`](Self::BARE_LF).
    pub const ALL: Quirks = Self::EVERY.without(Self::BARE_LF);

    /// Whether all of `others` are among these.
    #[inline]
    pub const fn contains(self, others: Quirks) -> bool {
        self.0 & others.0 == others.0
    }

    /// These but not `others`.
    pub const fn without(self, others: Quirks) -> Quirks {
        Quirks(self.0 & !others.0)
    }

    pub(crate) const fn bits(self) -> u32 {
        self.0
    }
}

impl BitOr for Quirks {
    type Output = Quirks;

    fn bitor(self, others: Quirks) -> Quirks {
        Quirks(self.0 | others.0)
    }
}

macro_rules! quirks {
    ($($(#[$meta:meta])* $name:ident),* $(,)?) => {
        quirks!(@number 0, $($(#[$meta])* $name,)*);

        impl Quirks {
            const EVERY: Quirks = Quirks(0 $(| Self::$name.0)*);

            const NAMES: &'static [(Quirks, &'static str)] = &[$((Self::$name, stringify!($name))),*];
        }
    };
    (@number $n:expr, $(#[$meta:meta])* $name:ident, $($more:tt)*) => {
        impl Quirks {
            $(#[$meta])*
            pub const $name: Quirks = Quirks(1 << ($n));
        }
        quirks!(@number $n + 1, $($more)*);
    };
    (@number $n:expr,) => {};
}

quirks! {
    /// Spaces at the end of CAPABILITY, SEARCH, STATUS, ID, a list or a line (imap-codec `quirk_trailing_space_*`,
    /// async-imap #131, bichon #197).
    TRAILING_SPACE,
    /// A space between two addresses of an envelope (imap-codec `quirk_spaces_between_addresses`).
    SPACES_BETWEEN_ADDRESSES,
    /// `()` for no addresses, where NIL is due (rust-imap #166).
    EMPTY_ADDRESS_LIST,
    /// NIL for a body's transfer encoding; read as `7BIT` (imap-codec `quirk_body_fld_enc_nil_to_empty`).
    NIL_ENCODING,
    /// NIL for a body parameter's value; read as empty (imap-codec `quirk_body_fld_param_value_nil`, vmime #159).
    NIL_PARAM_VALUE,
    /// NIL for a body's media type or subtype; read as empty.
    NIL_MEDIA,
    /// A multipart without parts (Dovecot; Ruby's bug 7153, in net-imap's fixtures).
    EMPTY_MULTIPART,
    /// More than one space before a body's parameters (net-imap's fixtures).
    BODY_SPACES,
    /// A status response that ends behind its word or code, without the space that is due before the text; the text itself may be empty
    /// by RFC 9051 (Gmail: imap-codec `quirk_missing_text`, modern-email/defects #28).
    MISSING_TEXT,
    /// `+` alone as a continuation request (imap-codec `quirk_empty_continue_req`).
    EMPTY_CONTINUE,
    /// Octets above 127 in a quoted string without UTF8=ACCEPT (Proton: modern-email/defects #38; most clients' passwords).
    /// IMAP4rev2 and RFC 9755 make UTF-8 legal there: switch it on with either.
    RAW_8BIT,
    /// `"` within a quoted string without its backslash: only one before a space, a parenthesis, a bracket or the line's end
    /// closes the string (tokio-imap #171).
    UNESCAPED_QUOTES,
    /// Negative sizes, such as `-1` for unknown; read as 0 (imap-codec `quirk_rectify_numbers`).
    NEGATIVE_NUMBERS,
    /// More than one space between the words of a QUOTA response (imap-codec `quirk_excessive_space_quota_resource`).
    QUOTA_SPACES,
    /// A day of one digit without its leading space in INTERNALDATE.
    ONE_DIGIT_DAY,
    /// `]` in flags and keywords, which no atom may hold.
    LOOSE_KEYWORDS,
    /// A command's line that ends in LF without CR (scripts, and people with netcat; Dovecot and Cyrus read it).
    ///
    /// This one is the [`CommandDecoder`](crate::CommandDecoder)'s, by [`Config::parse`](crate::Config::parse); it is in neither `SERVER` nor
    /// `ALL`, and responses never end so. Without it such a line and all that follows up to a CRLF is refused as one command
    /// ([`FrameErrorKind::BareLf`](crate::FrameErrorKind::BareLf)). With it every LF outside a literal ends a line, in commands that are being
    /// skipped too, so there is one answer to where a line ends. A literal is as many octets as was announced, whatever is in them; a
    /// message's LFs stay as they are. Leave it off behind a proxy that inspects commands and ends lines at CRLF only: what the proxy takes
    /// for one command would be two here.
    BARE_LF,
}

impl fmt::Debug for Quirks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Self::NAMES.iter().filter(|(quirk, _)| self.contains(*quirk)).map(|(_, name)| name);
        f.write_str("Quirks")?;
        f.debug_set().entries(names).finish()
    }
}
