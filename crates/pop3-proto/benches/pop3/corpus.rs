//! What servers and clients hear, all from one seed.

/// SplitMix64: the same corpus for the same seed, everywhere.
struct Seeded(u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// The lines of whole sessions, one command each with its CRLF.
pub(crate) fn commands(seed: u64, count: usize) -> Vec<String> {
    let mut rng = Seeded(seed);
    let mut lines = Vec::new();
    while lines.len() < count {
        session(&mut rng, &mut lines);
    }
    lines.truncate(count);
    lines
}

fn session(rng: &mut Seeded, lines: &mut Vec<String>) {
    let names = ["alice", "bob", "mrose", "j.smith@example.org"];
    let name = names[rng.below(4) as usize];
    lines.push("CAPA\r\n".into());
    match rng.below(4) {
        0 => lines.push("AUTH PLAIN dGVzdAB0ZXN0AHRlc3Q=\r\n".into()),
        1 => lines.push(format!("APOP {name} c4c9334bac560ecc979e58001b3e22fb\r\n")),
        _ => {
            lines.push(format!("USER {name}\r\n"));
            lines.push("PASS tanstaaf\r\n".into());
        }
    }
    lines.extend(["STAT\r\n".into(), "UIDL\r\n".into(), "LIST\r\n".into()]);
    for _ in 0..3 + rng.below(12) {
        let message = 1 + rng.below(2000);
        lines.push(format!("RETR {message}\r\n"));
        match rng.below(4) {
            0 => lines.push(format!("TOP {message} 10\r\n")),
            1 | 2 => lines.push(format!("DELE {message}\r\n")),
            _ => {}
        }
    }
    if rng.below(4) == 0 {
        lines.push("NOOP\r\n".into());
    }
    lines.push("QUIT\r\n".into());
}

/// The responses to LIST and to UIDL.
pub(crate) fn listings(seed: u64, count: u64) -> (Vec<u8>, Vec<u8>) {
    let mut rng = Seeded(seed);
    let (mut list, mut uidl) = (format!("+OK {count} messages\r\n"), "+OK\r\n".to_owned());
    for message in 1..=count {
        list += &format!("{message} {}\r\n", 500 + rng.below(5_000_000));
        uidl += &format!("{message} {:016x}{:08x}\r\n", rng.next(), rng.below(1 << 32));
    }
    ((list + ".\r\n").into_bytes(), (uidl + ".\r\n").into_bytes())
}

/// A message of about `size` octets; one line in 40 begins with a dot.
pub(crate) fn message(seed: u64, size: usize) -> Vec<u8> {
    let mut rng = Seeded(seed);
    let mut text = Vec::with_capacity(size + 128);
    while text.len() < size {
        if rng.below(40) == 0 {
            text.push(b'.');
        }
        let len = 40 + rng.below(37);
        text.extend(
            (0..len).map(|_| b"abcdefghijklmnopqrstuvwxyz ABCD0123456789,/="[rng.below(44) as usize]),
        );
        text.extend(b"\r\n");
    }
    text
}
