//! A line under the reading finger.

use crate::class::Class;

/// A place in a line.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    text: &'a str,
    at: usize,
    /// Whether characters beyond ASCII may stand in a wide run.
    wide: bool,
}

impl<'a> Cursor<'a> {
    /// At the start of `text`; its characters beyond ASCII belong to classes only if it is `wide`.
    #[inline(always)]
    pub(crate) fn new(text: &'a str, wide: bool) -> Self {
        Self { text, at: 0, wide }
    }

    #[inline(always)]
    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    /// Where it stands.
    #[inline(always)]
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The octet here; `None` at the end.
    #[inline(always)]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes().get(self.at).copied()
    }

    /// Steps over the octet `b`, which is ASCII, if it is here.
    #[inline(always)]
    pub(crate) fn eat(&mut self, b: u8) -> bool {
        let here = self.peek() == Some(b);
        self.at += usize::from(here);
        here
    }

    /// Steps over the ASCII `word`, in any case, if it is here.
    #[inline(always)]
    pub(crate) fn eat_word(&mut self, word: &str) -> bool {
        let end = self.at + word.len();
        let here = match self.bytes().get(self.at..end) {
            Some(w) => w == word.as_bytes() || w.eq_ignore_ascii_case(word.as_bytes()),
            None => false,
        };
        if here {
            self.at = end;
        }
        here
    }

    /// Steps over blanks.
    #[inline(always)]
    pub(crate) fn eat_blanks(&mut self) {
        while self.peek() == Some(b' ') || self.peek() == Some(b'\t') {
            self.at += 1;
        }
    }

    /// Steps over what is left.
    #[inline(always)]
    pub(crate) fn rest(&mut self) -> &'a str {
        let rest = &self.text[self.at..];
        self.at = self.text.len();
        rest
    }

    /// What was stepped over since `begin`.
    #[inline(always)]
    pub(crate) fn since(&self, begin: usize) -> &'a str {
        let (before, _) = self.text.split_at(self.at);
        before.split_at(begin).1
    }

    /// The same, as octets.
    #[inline(always)]
    pub(crate) fn bytes_since(&self, begin: usize) -> &'a [u8] {
        &self.bytes()[begin..self.at]
    }

    /// Whether nothing is left.
    #[inline(always)]
    pub(crate) fn is_at_end(&self) -> bool {
        self.at == self.text.len()
    }

    /// Steps over all octets of `class` from here on.
    #[inline(always)]
    pub(crate) fn run(&mut self, class: Class) {
        let bytes = self.bytes();
        let mut at = self.at;
        while at < bytes.len() && class.holds(bytes[at]) {
            at += 1;
        }
        self.at = at;
    }

    /// The same, with characters beyond ASCII where they may stand.
    #[inline(always)]
    pub(crate) fn run_wide(&mut self, class: Class) {
        self.run(if self.wide { class.wide() } else { class });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::class::{ATEXT, KEYWORD};

    #[test]
    fn a_run_ends_where_its_class_does() {
        let mut cursor = Cursor::new("a-b@x", false);
        cursor.run(ATEXT);
        assert_eq!((cursor.at(), cursor.since(0)), (3, "a-b"));
        assert!(cursor.eat(b'@') && !cursor.eat(b'@'));
        cursor.run(KEYWORD);
        assert!(cursor.is_at_end());
    }

    #[test]
    fn only_a_wide_run_holds_other_scripts() {
        let run = |wide| {
            let mut cursor = Cursor::new("grün@x", wide);
            cursor.run_wide(ATEXT);
            cursor.since(0)
        };
        assert_eq!((run(false), run(true)), ("gr", "grün"));
    }
}
