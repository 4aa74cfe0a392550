//! `dovecot-keywords`: what the letters `a`–`z` mean in one mailbox. No I/O.

use std::fmt;
use std::sync::Arc;

use crate::flags::Flags;

/// A keyword: an IMAP atom such as `$Forwarded`. Compared without regard to ASCII case.
#[derive(Clone, Eq)]
pub struct Keyword(Arc<str>);

/// Not an IMAP atom, or longer than 255 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a keyword must be 1 to 255 printable ASCII characters without space or any of (){{}}%*\"\\]")]
pub struct BadKeyword;

impl Keyword {
    /// Checks that `name` is an atom (RFC 9051 §9, `flag-keyword`).
    pub fn parse(name: &str) -> Result<Self, BadKeyword> {
        let atom = name.bytes().all(|b| b.is_ascii_graphic() && !b"(){}%*\"\\]".contains(&b));
        match atom && (1..=255).contains(&name.len()) {
            true => Ok(Self(name.into())),
            false => Err(BadKeyword),
        }
    }

    /// The name as first written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Keyword {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl fmt::Debug for Keyword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Keyword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The 26 letters of a mailbox and their names.
#[derive(Debug, Clone, Default)]
pub struct Keywords {
    slots: [Slot; 26],
    /// Lines that are none of ours to understand, kept.
    unknown: Vec<u8>,
}

#[derive(Debug, Clone, Default)]
enum Slot {
    #[default]
    Free,
    Named(Keyword),
    /// Named by something that is not an IMAP atom; kept as it is.
    Odd(Box<[u8]>),
}

impl Keywords {
    /// Reads a `dovecot-keywords` file; lines that cannot be read are kept.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut this = Self::default();
        for line in bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            match parse_line(line) {
                Some((index, name)) if matches!(this.slots[index], Slot::Free) => {
                    this.slots[index] = slot(name);
                }
                _ => {
                    this.unknown.extend_from_slice(line);
                    this.unknown.push(b'\n');
                }
            }
        }
        this
    }

    /// The file's bytes.
    pub fn render(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (index, slot) in self.slots.iter().enumerate() {
            let name = match slot {
                Slot::Free => continue,
                Slot::Named(keyword) => keyword.as_str().as_bytes(),
                Slot::Odd(name) => name,
            };
            out.extend_from_slice(format!("{index} ").as_bytes());
            out.extend_from_slice(name);
            out.push(b'\n');
        }
        out.extend_from_slice(&self.unknown);
        out
    }

    /// The letter of a keyword, if it has one.
    pub fn find(&self, wanted: &Keyword) -> Option<Flags> {
        let named = |slot: &Slot| matches!(slot, Slot::Named(name) if name == wanted);
        Flags::keyword(self.slots.iter().position(named)? as u8)
    }

    /// The letter of a keyword, giving it one if need be; `None` if all 26 are taken.
    pub fn assign(&mut self, wanted: &Keyword) -> Option<Flags> {
        if let Some(flag) = self.find(wanted) {
            return Some(flag);
        }
        let free = self.slots.iter().position(|slot| matches!(slot, Slot::Free))?;
        self.slots[free] = Slot::Named(wanted.clone());
        Flags::keyword(free as u8)
    }

    /// The names of the keyword letters in `flags`; letters without a name are skipped.
    pub fn names(&self, flags: Flags) -> Vec<Keyword> {
        flags.keyword_indexes().filter_map(|i| self.name(i)).cloned().collect()
    }

    /// All named keywords.
    pub fn all(&self) -> Vec<Keyword> {
        self.names(Flags::KEYWORDS)
    }

    /// The letters that have a name.
    pub fn named(&self) -> Flags {
        (0..26)
            .filter(|i| self.name(*i).is_some())
            .filter_map(Flags::keyword)
            .fold(Flags::EMPTY, Flags::union)
    }

    /// Is there a letter left?
    pub fn has_room(&self) -> bool {
        self.slots.iter().any(|slot| matches!(slot, Slot::Free))
    }

    fn name(&self, index: u8) -> Option<&Keyword> {
        match &self.slots[usize::from(index)] {
            Slot::Named(keyword) => Some(keyword),
            _ => None,
        }
    }
}

fn parse_line(line: &[u8]) -> Option<(usize, &[u8])> {
    let space = line.iter().position(|b| *b == b' ')?;
    let index: usize = std::str::from_utf8(&line[..space]).ok()?.parse().ok()?;
    (index < 26 && space + 1 < line.len()).then_some((index, &line[space + 1..]))
}

fn slot(name: &[u8]) -> Slot {
    match std::str::from_utf8(name).map(Keyword::parse) {
        Ok(Ok(keyword)) => Slot::Named(keyword),
        _ => Slot::Odd(name.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dovecot_keywords_file_is_read_and_rewritten_with_all_it_says() {
        let file = b"0 $Forwarded\n2 Junk\n3 n\xf6\n99 beyond\n";
        let mut keywords = Keywords::parse(file);
        assert_eq!(keywords.render(), file);
        let junk = keywords.assign(&Keyword::parse("JUNK").unwrap());
        assert_eq!(junk, Flags::keyword(2));
        let fresh = keywords.assign(&Keyword::parse("new").unwrap());
        assert_eq!(fresh, Flags::keyword(1), "the first free letter; 3 is taken by an odd name");
    }

    #[test]
    fn the_27th_keyword_is_refused() {
        let mut keywords = Keywords::default();
        for i in 0..26 {
            assert!(keywords.assign(&Keyword::parse(&format!("k{i}")).unwrap()).is_some());
        }
        assert!(!keywords.has_room());
        assert!(keywords.assign(&Keyword::parse("k26").unwrap()).is_none());
    }

    #[test]
    fn only_atoms_are_keywords() {
        for bad in ["", "a b", "\\Seen", "a]", "ü", "a\nb"] {
            assert!(Keyword::parse(bad).is_err(), "{bad:?}");
        }
    }
}
