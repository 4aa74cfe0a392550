//! Courier's keywords, as its `courierimapkeywords` directory has them. Pure text in, names out.
//!
//! `:list` holds what was gathered: keywords, one a line; a blank line; then lines of a base name,
//! a colon and the numbers of its keywords, counted from 0. Changes since stand in a file for each
//! message, keywords one a line: the newest under the message's base name, older ones under
//! `.<number>.<base name>`, the higher the newer.

use std::collections::HashMap;

use crate::keywords::Keyword;

/// Keywords by base name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct CourierKeywords(HashMap<Vec<u8>, (Newness, Vec<Keyword>)>);

/// What is larger is newer.
type Newness = u64;
const LIST: Newness = 0;
const NEWEST: Newness = Newness::MAX;

impl CourierKeywords {
    /// Adds what a file of the directory says. Lines and files that are none of Courier's are
    /// skipped.
    pub(crate) fn add(&mut self, name: &[u8], content: &[u8]) {
        match file(name) {
            Some((b"", LIST)) => self.add_list(content),
            Some((base, newness)) => self.set(base, newness, lines(content).filter_map(keyword).collect()),
            None => {}
        }
    }

    /// The keywords of a message.
    pub(crate) fn of(&self, base: &[u8]) -> &[Keyword] {
        self.0.get(base).map_or(&[], |(_, keywords)| keywords)
    }

    fn add_list(&mut self, content: &[u8]) {
        let mut lines = content.split(|b| *b == b'\n');
        let table: Vec<Option<Keyword>> =
            lines.by_ref().take_while(|line| !line.is_empty()).map(keyword).collect();
        for line in lines {
            let Some(colon) = line.iter().position(|b| *b == b':') else { continue };
            let words = line[colon + 1..].split(|b| *b == b' ');
            let numbers = words.filter_map(|word| std::str::from_utf8(word).ok()?.parse::<usize>().ok());
            let keywords = numbers.filter_map(|number| table.get(number)?.clone());
            self.set(&line[..colon], LIST, keywords.collect());
        }
    }

    fn set(&mut self, base: &[u8], newness: Newness, keywords: Vec<Keyword>) {
        match self.0.get(base) {
            Some((known, _)) if *known > newness => {}
            _ => drop(self.0.insert(base.to_vec(), (newness, keywords))),
        }
    }
}

/// The message that a file is for (the list: none), and how new it is.
fn file(name: &[u8]) -> Option<(&[u8], Newness)> {
    match name {
        b":list" => Some((b"", LIST)),
        [b':', ..] | [] => None,
        [b'.', rest @ ..] => {
            let dot = rest.iter().position(|b| *b == b'.')?;
            let number: u32 = std::str::from_utf8(&rest[..dot]).ok()?.parse().ok()?;
            (dot + 1 < rest.len()).then_some((&rest[dot + 1..], u64::from(number) + 1))
        }
        base => Some((base, NEWEST)),
    }
}

fn lines(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    content.split(|b| *b == b'\n').take_while(|line| !line.is_empty())
}

fn keyword(line: &[u8]) -> Option<Keyword> {
    Keyword::parse(std::str::from_utf8(line).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(keywords: &CourierKeywords, base: &[u8]) -> Vec<String> {
        keywords.of(base).iter().map(Keyword::to_string).collect()
    }

    #[test]
    fn the_list_is_read_and_newer_files_replace_what_it_says() {
        let mut keywords = CourierKeywords::default();
        keywords.add(b"3.c", b"now\n");
        keywords.add(b".9.2.b", b"nine\n");
        keywords.add(b":list", b"Junk\n$Label1\nno atom\n\n1.a:0 1\n2.b:1\n3.c:0\n4.d:2 7 x 1\nno colon\n");
        keywords.add(b".10.2.b", b"ten\nmore\n");
        keywords.add(b".8.2.b", b"eight\n");
        keywords.add(b".7.1.a", b"");
        keywords.add(b".tmp.170.x", b"scratch\n");
        assert_eq!(words(&keywords, b"1.a"), Vec::<String>::new(), "taken away since");
        assert_eq!(words(&keywords, b"2.b"), ["ten", "more"]);
        assert_eq!(words(&keywords, b"3.c"), ["now"]);
        assert_eq!(words(&keywords, b"4.d"), ["$Label1"]);
        assert_eq!(words(&keywords, b"170.x"), Vec::<String>::new());
    }

    #[test]
    fn hostile_files_are_skipped() {
        let mut keywords = CourierKeywords::default();
        for (name, content) in [(&b""[..], &b"x\n"[..]), (b".", b"x\n"), (b"..", b"x\n"), (b".1.", b"x\n")] {
            keywords.add(name, content);
        }
        keywords.add(b":list", b"\n\n\n:\n:0\n\xff:0\n");
        keywords.add(b":list", b"a\n\n1:0 99999999999999999999999 -1\n");
        assert_eq!(words(&keywords, b"1"), ["a"]);
    }
}
