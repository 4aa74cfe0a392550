//! Deviations from the grammar that real peers are known for.

use std::fmt;
use std::ops::BitOr;

/// Which known deviations are taken: a set, made with `|`. Each was reported against a real server or client; what follows
/// a quirk's meaning is where. None changes the meaning of what is valid by the RFCs.
///
/// ```
/// # use posthaste_pop3_proto::{Quirks, UidlEntry};
/// let quirks = Quirks::CLIENT.without(Quirks::LONG_UNIQUE_IDS);
/// assert!(UidlEntry::parse("1   QhdPYR").is_none());
/// assert!(UidlEntry::parse_with("1   QhdPYR", quirks).is_some());
/// ```
///
/// What cannot be told from what is valid has no quirk: `+OK` where a challenge is due (MailKit #391), several lines in answer
/// to UIDL with a number (mailpit #552), lines whose first dot was not doubled (mailpit #299, hMailServer #126), messages that
/// end at a dot between bare line feeds (zetacomponents/Mail #40).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quirks(u8);

impl Quirks {
    /// The RFCs to the letter: what a server needs.
    pub const NONE: Quirks = Quirks(0);

    /// What a client needs: all but [`Quirks::BARE_LF`], which lets whoever can put a line feed into a server's text add a
    /// status line of his own.
    pub const CLIENT: Quirks = Quirks::ALL.without(Quirks::BARE_LF);

    /// Whether all of `others` are among these.
    #[inline]
    pub const fn contains(self, others: Quirks) -> bool {
        self.0 & others.0 == others.0
    }

    /// These but not `others`.
    pub const fn without(self, others: Quirks) -> Quirks {
        Quirks(self.0 & !others.0)
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
            /// Everything.
            pub const ALL: Quirks = Quirks(0 $(| Self::$name.0)*);

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
    /// More than one blank between the numbers of a listing or before its unique-id, and blanks at the line's ends
    /// (thunderbird-android #323, enough_mail #157).
    LISTING_BLANKS,
    /// Unique-ids of more than 70 characters (Exchange Online: itop-jb-mail-to-ticket-automation #60).
    LONG_UNIQUE_IDS,
    /// Answers to LIST and UIDL with a number that leave that number out (Twisted #9104 and #10542).
    NUMBER_LEFT_OUT,
    /// Empty lines in a listing; they are skipped (OpaqueMail #60).
    EMPTY_LINES,
    /// Text where a challenge in base64 is due, as in `+ go ahead`; read as an empty challenge (MailKit #268).
    CHALLENGE_TEXT,
    /// Commands, status lines and lines of listings that end in LF alone (OpaqueMail #60, PHPMailer #2798). A message ends at
    /// CRLF.CRLF all the same.
    BARE_LF,
}

impl fmt::Debug for Quirks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Self::NAMES.iter().filter(|(quirk, _)| self.contains(*quirk)).map(|(_, name)| name);
        f.write_str("Quirks")?;
        f.debug_set().entries(names).finish()
    }
}
