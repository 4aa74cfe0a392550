//! The corpus: what the demo delivers and expects back byte for byte.
//!
//! Three parts, all written for this project: the hand-shaped files under `corpus/hand`, the
//! generated ones (the same text for ever from [`REPOSITORY_SEED`]; written out under
//! `corpus/generated`, so that programs that are not ours can use them), and one of 5 MB, which is
//! only generated.

mod generate;
mod rng;
mod words;

pub use rng::Rng;

/// The seed of the generated messages that are kept in the repository.
pub const REPOSITORY_SEED: u64 = 2026;

/// How many generated messages are kept in the repository.
pub const REPOSITORY_GENERATED: usize = 160;

/// The size of the big message, in bytes, before the header line that marks a delivery.
pub const BIG_BYTES: usize = 5_000_000;

/// One message of the corpus: CRLF line ends throughout, no mark of a delivery yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its file's name, or what it was generated from.
    pub name: String,
    /// The message as it is sent after DATA, before dot-stuffing.
    pub bytes: Vec<u8>,
}

macro_rules! hand_shaped {
    ($($name:literal),* $(,)?) => {
        /// The hand-shaped messages: name and bytes.
        pub const HAND_SHAPED: &[(&str, &[u8])] = &[
            $(($name, include_bytes!(concat!("../../../corpus/hand/", $name, ".eml")))),*
        ];
    };
}

hand_shaped! {
    "01-bare-minimum",
    "02-headers-only-no-blank-line",
    "03-empty-body",
    "04-only-dots",
    "05-lines-beginning-with-dots",
    "06-alternative-text-html",
    "07-mixed-base64-attachment",
    "08-mixed-related-alternative",
    "09-nested-rfc822",
    "10-rfc822-in-rfc822-in-rfc822",
    "11-digest",
    "12-encoded-words-base64",
    "13-encoded-words-q-split",
    "14-raw-utf8-headers",
    "15-raw-latin1-everywhere",
    "16-utf8-8bit-body",
    "17-format-flowed",
    "18-quoted-printable-soft-breaks",
    "19-line-of-998",
    "20-line-of-2500",
    "21-folded-references",
    "22-strange-white-space",
    "23-repeated-headers",
    "24-boundaries-that-look-alike",
    "25-missing-last-boundary",
    "26-rfc2231-names",
    "27-from-lines",
    "28-delivery-report",
    "29-calendar",
    "30-mailing-list",
    "31-armoured",
    "32-iso-2022-jp",
    "33-shift-jis-8bit",
    "34-every-byte-but-three",
    "35-address-forms",
    "36-obsolete-date",
    "37-blank-lines-at-the-end",
    "38-html-only",
    "39-flag-headers",
    "40-imap-look-alike",
    "41-smtp-look-alike",
    "42-long-header-line",
    "43-many-headers",
    "44-deep-multipart",
    "45-body-without-headers-first-line-blank",
}

/// `count` messages: the big one, every hand-shaped one, the repository's generated ones, and
/// beyond them as many fresh ones of `seed` as are asked for.
pub fn messages(seed: u64, count: usize) -> Vec<Message> {
    let big = std::iter::once_with(big);
    let fresh = (0..).map(|index| generate::message(seed, index));
    big.chain(hand_shaped()).chain(generated()).chain(fresh).take(count).collect()
}

/// The hand-shaped messages.
pub fn hand_shaped() -> impl Iterator<Item = Message> {
    HAND_SHAPED.iter().map(|(name, bytes)| Message { name: (*name).to_owned(), bytes: bytes.to_vec() })
}

/// The generated messages that are kept in the repository.
pub fn generated() -> impl Iterator<Item = Message> {
    (0..REPOSITORY_GENERATED as u64).map(|index| generate::message(REPOSITORY_SEED, index))
}

/// The one of 5 MB.
pub fn big() -> Message {
    generate::big(REPOSITORY_SEED, BIG_BYTES)
}

/// A small message for load, about `bytes` long.
pub fn small(seed: u64, index: u64, bytes: usize) -> Message {
    generate::plain_of_size(seed, index, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::{Path, PathBuf};

    fn folder(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name)
    }

    fn file_names(name: &str) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(folder(name))
            .expect("the corpus folder is there")
            .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn at_least_two_hundred_messages_are_in_the_repository() {
        let hand = file_names("hand");
        let listed: Vec<String> = HAND_SHAPED.iter().map(|(name, _)| format!("{name}.eml")).collect();
        assert_eq!(hand, listed, "corpus/hand and the list in corpus/mod.rs differ");
        assert!(hand.len() + file_names("generated").len() >= 200);
    }

    /// `POSTHASTE_WRITE_CORPUS=1 cargo test corpus` writes the files anew.
    #[test]
    fn the_generated_files_are_what_the_seed_gives() {
        let write = std::env::var_os("POSTHASTE_WRITE_CORPUS").is_some();
        for message in generated() {
            let path = folder("generated").join(format!("{}.eml", message.name));
            if write {
                std::fs::write(&path, &message.bytes).expect("writable");
            }
            let kept = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            assert!(kept == message.bytes, "{} is not what the generator gives", path.display());
        }
        assert_eq!(file_names("generated").len(), REPOSITORY_GENERATED);
    }

    #[test]
    fn every_message_can_go_through_smtp_unchanged() {
        for message in messages(7, 260) {
            let bytes = &message.bytes;
            assert!(bytes.ends_with(b"\r\n"), "{}: no CRLF at the end", message.name);
            assert!(!bytes.contains(&0), "{}: holds a NUL", message.name);
            let bare = bytes.iter().enumerate().any(|(at, &b)| match b {
                b'\r' => bytes.get(at + 1) != Some(&b'\n'),
                b'\n' => at == 0 || bytes[at - 1] != b'\r',
                _ => false,
            });
            assert!(!bare, "{}: a bare CR or LF", message.name);
        }
    }

    #[test]
    fn the_shapes_the_demo_promises_are_there() {
        let all = messages(7, 1 + HAND_SHAPED.len() + REPOSITORY_GENERATED);
        let has = |needle: &[u8]| all.iter().filter(|m| find(&m.bytes, needle)).count();
        assert!(has(b"multipart/alternative") > 10);
        assert!(has(b"Content-Transfer-Encoding: base64") > 10);
        assert!(has(b"message/rfc822") > 10);
        assert!(has(b"=?utf-8?") > 10);
        assert!(has(b"format=flowed") > 5);
        assert!(has(b"\r\n.") > 10);
        assert!(all.iter().any(|m| m.bytes.ends_with(b"\r\n\r\n")), "an empty body");
        assert!(all.iter().any(|m| !m.bytes.is_ascii()), "8-bit text");
        assert!(all.iter().any(|m| longest_line(&m.bytes) == 998));
        assert!(all.iter().any(|m| longest_line(&m.bytes) > 2_000));
        assert!(all.iter().any(|m| m.bytes.len() >= BIG_BYTES));
    }

    #[test]
    fn another_seed_gives_other_messages_only_beyond_the_repository() {
        let kept = 1 + HAND_SHAPED.len() + REPOSITORY_GENERATED;
        let (a, b) = (messages(1, kept + 5), messages(2, kept + 5));
        assert_eq!(a[..kept], b[..kept]);
        assert_ne!(a[kept..], b[kept..]);
    }

    fn find(haystack: &[u8], needle: &[u8]) -> bool {
        haystack.windows(needle.len()).any(|window| window == needle)
    }

    fn longest_line(bytes: &[u8]) -> usize {
        bytes.split(|&b| b == b'\n').map(|line| line.len().saturating_sub(1)).max().unwrap_or(0)
    }
}
