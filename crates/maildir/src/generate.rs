//! Making base names that no other process, container or node makes.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::name::BaseName;

/// Makes unique base names, strictly ascending in time within the process.
///
/// `secs.M<usec>P<pid>Q<counter>R<64 random bits>.<host>`: the random part is what survives pid 1
/// in containers, cloned host names and clock steps.
#[derive(Debug)]
pub struct NameGenerator {
    host: String,
    pid: u32,
    last_usec: Mutex<u64>,
    counter: AtomicU64,
}

impl NameGenerator {
    /// Names for this host. `/`, `:`, `,` and what is not printable ASCII are escaped; the name
    /// is cut after 64 bytes.
    pub fn new(host: &str) -> Self {
        let mut escaped = String::new();
        for byte in host.bytes() {
            match byte {
                b'/' | b':' | b',' => escaped.push_str(&format!("\\{byte:03o}")),
                0x21..=0x7e => escaped.push(char::from(byte)),
                _ => escaped.push('_'),
            }
        }
        escaped.truncate(64);
        let host = if escaped.is_empty() { "localhost".to_owned() } else { escaped };
        Self { host, pid: std::process::id(), last_usec: Mutex::new(0), counter: AtomicU64::new(0) }
    }

    /// A new name for this message, with its sizes (`,S=` and `,W=`).
    pub fn next(&self, content: &[u8]) -> BaseName {
        self.next_sized(Measure::of(content))
    }

    /// A new name for a message of these sizes.
    pub(crate) fn next_sized(&self, found: Measure) -> BaseName {
        let stem = self.stem();
        let name = format!("{stem},S={},W={}", found.len, found.wire_len);
        BaseName::parse(name.as_bytes()).expect("made of printable characters, under 255 bytes")
    }

    /// A new name without sizes, as for files in `tmp`.
    pub fn stem(&self) -> String {
        let now = self.monotonic_usec();
        let counter = self.counter.fetch_add(1, Ordering::Relaxed);
        let (secs, usec) = (now / 1_000_000, now % 1_000_000);
        let (pid, random) = (self.pid, rand::random::<u64>());
        format!("{secs}.M{usec:06}P{pid}Q{counter}R{random:016x}.{}", self.host)
    }

    /// The clock, or one more than the last answer if the clock stands or steps back.
    fn monotonic_usec(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as u64);
        let mut last = self.last_usec.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        *last = now.max(*last + 1);
        *last
    }
}

/// A message's sizes, counted as it comes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Measure {
    pub(crate) len: u64,
    pub(crate) wire_len: u64,
    last: u8,
}

impl Measure {
    pub(crate) fn of(content: &[u8]) -> Self {
        let mut this = Self::default();
        this.add(content);
        this
    }

    /// Counts the next part.
    pub(crate) fn add(&mut self, part: &[u8]) {
        let Some((&first, &last)) = part.first().zip(part.last()) else { return };
        let bare = u64::from(is_bare(self.last, first)) + bare_within(part);
        self.last = last;
        self.len += part.len() as u64;
        self.wire_len += part.len() as u64 + bare;
    }
}

fn is_bare(before: u8, byte: u8) -> u8 {
    u8::from((byte == b'\n') & (before != b'\r'))
}

/// Bare LFs behind the first byte. Without branches, and in sums of one byte: so the compiler takes
/// many at a time.
fn bare_within(part: &[u8]) -> u64 {
    const SUM_MAX: usize = 255;
    let (before, bytes) = (part.chunks(SUM_MAX), part[1..].chunks(SUM_MAX));
    let sum = |(before, bytes): (&[u8], &[u8])| {
        before.iter().zip(bytes).fold(0u8, |sum, (before, byte)| sum + is_bare(*before, *byte))
    };
    before.zip(bytes).map(|pair| u64::from(sum(pair))).sum()
}

/// The length of `content` when each bare LF becomes CRLF: what IMAP and POP3 send.
pub fn wire_len(content: &[u8]) -> u64 {
    Measure::of(content).wire_len
}

/// `content` with CRLF line ends.
pub fn to_wire(content: Vec<u8>) -> Vec<u8> {
    let bare = wire_len(&content) as usize - content.len();
    if bare == 0 {
        return content;
    }
    let mut wire = Vec::with_capacity(content.len() + bare);
    let mut last = 0;
    for byte in content {
        if byte == b'\n' && last != b'\r' {
            wire.push(b'\r');
        }
        wire.push(byte);
        last = byte;
    }
    wire
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_ascend_and_carry_both_sizes() {
        let names = NameGenerator::new("a/b:c");
        let first = names.next(b"a\nb\r\n");
        let second = names.next(b"");
        assert!(first.arrival() < second.arrival());
        assert_eq!((first.size(), first.wire_size()), (Some(5), Some(6)));
        assert!(first.to_string().contains(r".a\\057b\\072c,"), "{first}");
    }

    #[test]
    fn bare_line_feeds_are_counted_wherever_the_parts_end() {
        let content: Vec<u8> = (0..3000u32).map(|n| b"\r\nx\n"[(n * 7 % 11 % 4) as usize]).collect();
        let mut slow = 0;
        for at in 0..content.len() {
            slow += u64::from(content[at] == b'\n' && (at == 0 || content[at - 1] != b'\r'));
        }
        assert!(slow > 500);
        for step in [1, 2, 254, 255, 256, 1000, 3000] {
            let mut measure = Measure::default();
            content.chunks(step).for_each(|part| measure.add(part));
            assert_eq!((measure.len, measure.wire_len), (3000, 3000 + slow), "{step}");
        }
        assert_eq!(to_wire(content).len() as u64, 3000 + slow);
    }

    #[test]
    fn bare_line_feeds_become_crlf_on_the_wire() {
        assert_eq!(to_wire(b"a\nb\r\n\n".to_vec()), b"a\r\nb\r\n\r\n");
        assert_eq!(to_wire(b"a\r\n".to_vec()), b"a\r\n");
    }
}
