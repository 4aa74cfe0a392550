//! Generated messages: a shape and a seed give the same bytes for ever.

use super::words::{FOREIGN, SENDERS, WORDS};
use super::{Message, Rng};

type Shape = fn(&mut Writer);

/// The shapes that generated messages take in turn.
const SHAPES: &[(&str, Shape)] = &[
    ("plain", plain),
    ("alternative", alternative),
    ("attachment", attachment),
    ("forwarded", forwarded),
    ("encoded-headers", encoded_headers),
    ("flowed", flowed),
    ("dots", dots),
    ("eight-bit", eight_bit),
    ("long-lines", long_lines),
    ("quoted-printable", quoted_printable),
    ("thread", thread),
];

/// The message `index` of `seed`.
pub(super) fn message(seed: u64, index: u64) -> Message {
    let at = usize::try_from(index).unwrap_or(0);
    let (shape, write) = SHAPES[at % SHAPES.len()];
    let mut writer = Writer::new(seed, index);
    write(&mut writer);
    Message { name: format!("{index:03}-{shape}"), bytes: writer.out }
}

/// A plain message of at least `bytes` bytes and at most a line more.
pub(super) fn plain_of_size(seed: u64, index: u64, bytes: usize) -> Message {
    let mut writer = Writer::new(seed, index);
    writer.envelope_headers();
    writer.line("");
    while writer.out.len() < bytes {
        let words = 8 + writer.rng.below(5);
        let text = writer.words(words);
        writer.line(&text);
    }
    Message { name: format!("small-{index}"), bytes: writer.out }
}

/// A text part and one attachment that fills the message up to `bytes` bytes.
pub(super) fn big(seed: u64, bytes: usize) -> Message {
    let mut writer = Writer::new(seed, u64::MAX);
    writer.envelope_headers();
    let boundary = writer.open_multipart("mixed");
    writer.text_part(&boundary, 3);
    writer.line(&format!("--{boundary}"));
    writer.line("Content-Type: application/octet-stream; name=survey.raw");
    writer.line("Content-Transfer-Encoding: base64");
    writer.line("");
    let written = writer.out.len();
    let line_bytes = 78;
    writer.base64((bytes.saturating_sub(written) / line_bytes + 1) * 57);
    writer.line(&format!("--{boundary}--"));
    Message { name: "big".to_owned(), bytes: writer.out }
}

fn plain(w: &mut Writer) {
    w.envelope_headers();
    w.line("");
    let lines = w.rng.below(40);
    w.paragraph(lines);
}

fn alternative(w: &mut Writer) {
    w.envelope_headers();
    let boundary = w.open_multipart("alternative");
    w.text_part(&boundary, 6);
    w.line(&format!("--{boundary}"));
    w.line("Content-Type: text/html; charset=utf-8");
    w.line("Content-Transfer-Encoding: 8bit");
    w.line("");
    w.line("<html><body>");
    for _ in 0..4 {
        let text = w.foreign(9);
        w.line(&format!("<p style=\"margin: .5em\">{text}</p>"));
    }
    w.line("</body></html>");
    w.line(&format!("--{boundary}--"));
}

fn attachment(w: &mut Writer) {
    w.envelope_headers();
    let boundary = w.open_multipart("mixed");
    w.text_part(&boundary, 4);
    for number in 0..=w.rng.below(3) {
        w.line(&format!("--{boundary}"));
        w.line(&format!("Content-Type: application/octet-stream; name=\"sheet{number}.bin\""));
        w.line(&format!("Content-Disposition: attachment;\r\n filename=\"sheet{number}.bin\""));
        w.line("Content-Transfer-Encoding: base64");
        w.line("");
        let bytes = 200 + w.rng.below(6_000);
        w.base64(bytes);
        w.line("");
    }
    w.line(&format!("--{boundary}--"));
}

fn forwarded(w: &mut Writer) {
    w.envelope_headers();
    let boundary = w.open_multipart("mixed");
    w.text_part(&boundary, 2);
    w.line(&format!("--{boundary}"));
    w.line("Content-Type: message/rfc822");
    w.line("");
    w.envelope_headers();
    let inner = w.open_multipart("alternative");
    w.text_part(&inner, 5);
    w.line(&format!("--{inner}--"));
    w.line(&format!("--{boundary}--"));
}

fn encoded_headers(w: &mut Writer) {
    w.identity();
    for name in ["Subject", "Comments", "X-Place"] {
        let words: Vec<String> = (0..3).map(|_| w.encoded_word()).collect();
        w.line(&format!("{name}: {}", words.join("\r\n ")));
    }
    w.line("");
    w.paragraph(3);
}

fn flowed(w: &mut Writer) {
    w.envelope_headers();
    w.line("MIME-Version: 1.0");
    w.line("Content-Type: text/plain; charset=utf-8; format=flowed");
    w.line("Content-Transfer-Encoding: 8bit");
    w.line("");
    for _ in 0..8 {
        let quote = ["", "> ", ">> ", " "][w.rng.below(4)];
        let (text, end) = (w.foreign(8), ["", " ", "  "][w.rng.below(3)]);
        w.line(&format!("{quote}{text}{end}"));
    }
    w.line("-- ");
    w.line("sent by hand");
}

fn dots(w: &mut Writer) {
    w.envelope_headers();
    w.line("");
    for _ in 0..12 {
        let dots = ".".repeat(w.rng.below(4));
        let text = if w.rng.one_in(3) { String::new() } else { w.words(3) };
        w.line(&format!("{dots}{text}"));
    }
    w.line(".");
}

fn eight_bit(w: &mut Writer) {
    w.identity();
    let subject = w.foreign(5);
    w.line(&format!("Subject: {subject}"));
    if w.rng.one_in(2) {
        w.line("MIME-Version: 1.0");
        w.line("Content-Type: text/plain; charset=utf-8");
        w.line("Content-Transfer-Encoding: 8bit");
    }
    w.line("");
    for _ in 0..6 {
        let text = w.foreign(10);
        w.line(&text);
    }
}

fn long_lines(w: &mut Writer) {
    w.envelope_headers();
    w.line("");
    for _ in 0..3 {
        let length = if w.rng.one_in(3) { 998 } else { 400 + w.rng.below(598) };
        let mut text = w.words(300);
        text.truncate(length);
        w.line(&text);
    }
}

fn quoted_printable(w: &mut Writer) {
    w.envelope_headers();
    w.line("MIME-Version: 1.0");
    w.line("Content-Type: text/plain; charset=utf-8");
    w.line("Content-Transfer-Encoding: quoted-printable");
    w.line("");
    for _ in 0..5 {
        let text = w.foreign(12);
        w.quoted_printable(&text);
    }
}

fn thread(w: &mut Writer) {
    w.envelope_headers();
    let earlier: Vec<String> = (0..w.rng.below(12) + 1).map(|_| w.message_id()).collect();
    w.line(&format!("In-Reply-To: {}", earlier[earlier.len() - 1]));
    w.line(&format!("References: {}", earlier.join("\r\n ")));
    w.line("List-Id: Growers <growers.hillside.example>");
    w.line("");
    for level in (0..4).rev() {
        let text = w.words(9);
        w.line(&format!("{}{text}", "> ".repeat(level)));
    }
}

/// The bytes so far and the random numbers that shape the rest.
struct Writer {
    rng: Rng,
    out: Vec<u8>,
}

impl Writer {
    fn new(seed: u64, index: u64) -> Self {
        Self { rng: Rng::fork(seed, index), out: Vec::new() }
    }

    fn line(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// Everything but Subject.
    fn identity(&mut self) {
        let (name, address) = SENDERS[self.rng.below(SENDERS.len())];
        let name = if name.is_ascii() { format!("\"{name}\"") } else { base64_word(name) };
        self.line(&format!("From: {name} <{address}>"));
        let (_, to) = SENDERS[self.rng.below(SENDERS.len())];
        self.line(&format!("To: {to}"));
        let (day, hour, minute) = (1 + self.rng.below(28), self.rng.below(24), self.rng.below(60));
        self.line(&format!("Date: {day} Feb 2026 {hour:02}:{minute:02}:00 +0000"));
        let id = self.message_id();
        self.line(&format!("Message-ID: {id}"));
    }

    fn envelope_headers(&mut self) {
        self.identity();
        let subject = self.words(5);
        self.line(&format!("Subject: {subject}"));
    }

    fn message_id(&mut self) -> String {
        format!("<{:016x}@corpus.example>", self.rng.next_u64())
    }

    /// Writes the header of a multipart and returns its boundary.
    fn open_multipart(&mut self, kind: &str) -> String {
        let boundary = format!("=_{:08x}", self.rng.next_u64() >> 32);
        self.line("MIME-Version: 1.0");
        self.line(&format!("Content-Type: multipart/{kind};\r\n boundary=\"{boundary}\""));
        self.line("");
        if self.rng.one_in(3) {
            self.line("This text is before the first part.");
        }
        boundary
    }

    fn text_part(&mut self, boundary: &str, lines: usize) {
        self.line(&format!("--{boundary}"));
        self.line("Content-Type: text/plain; charset=us-ascii");
        self.line("");
        self.paragraph(lines);
        self.line("");
    }

    fn paragraph(&mut self, lines: usize) {
        for _ in 0..lines {
            let text = self.words(10);
            self.line(&text);
        }
    }

    fn words(&mut self, count: usize) -> String {
        let words: Vec<&str> = (0..count).map(|_| self.rng.pick(WORDS)).collect();
        words.join(" ")
    }

    fn foreign(&mut self, count: usize) -> String {
        let words: Vec<&str> = (0..count)
            .map(|at| if at % 3 == 1 { self.rng.pick(FOREIGN) } else { self.rng.pick(WORDS) })
            .collect();
        words.join(" ")
    }

    fn encoded_word(&mut self) -> String {
        let text = self.rng.pick(FOREIGN);
        if self.rng.one_in(2) { base64_word(text) } else { q_word(text) }
    }

    /// `bytes` random bytes in lines of 76 characters.
    fn base64(&mut self, bytes: usize) {
        let mut raw = vec![0; bytes];
        self.rng.fill(&mut raw);
        for line in raw.chunks(57) {
            let line = base64(line);
            self.line(&line);
        }
    }

    /// One line of text, encoded, cut into lines of at most 76 characters.
    fn quoted_printable(&mut self, text: &str) {
        let mut line = String::new();
        for byte in text.bytes() {
            let piece = if byte == b'=' || !byte.is_ascii() {
                format!("={byte:02X}")
            } else {
                char::from(byte).into()
            };
            if line.len() + piece.len() > 75 {
                self.line(&format!("{line}="));
                line.clear();
            }
            line.push_str(&piece);
        }
        self.line(&line);
    }
}

fn base64_word(text: &str) -> String {
    format!("=?utf-8?B?{}?=", base64(text.as_bytes()))
}

fn q_word(text: &str) -> String {
    let bytes: String = text.bytes().map(|byte| format!("={byte:02X}")).collect();
    format!("=?utf-8?Q?{bytes}?=")
}

/// RFC 4648 §4, with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits =
            group.iter().fold(0u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - group.len()));
        for at in 0..4 {
            let index = (bits >> (18 - 6 * at)) & 63;
            out.push(if at <= group.len() { char::from(ALPHABET[index as usize]) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_gives_the_known_answers_of_rfc_4648() {
        let known = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (plain, coded) in known {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn a_message_is_the_same_every_time() {
        assert_eq!(message(5, 9), message(5, 9));
        assert_ne!(message(5, 9), message(6, 9));
    }

    #[test]
    fn the_big_one_has_the_size_asked_for() {
        let bytes = big(1, 100_000).bytes.len();
        assert!((100_000..101_000).contains(&bytes), "{bytes}");
    }
}
