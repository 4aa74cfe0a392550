//! What servers hear: sessions, replies and messages, all from one seed.

/// SplitMix64: the same corpus for the same seed, everywhere.
pub(crate) struct Seeded(u64);

impl Seeded {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

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

    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }
}

const NAMES: [&str; 12] = [
    "alice",
    "bob",
    "j.smith",
    "postmaster",
    "m",
    "info",
    "Anna-Lena.Meier",
    "bounces+1234=example.com",
    "root",
    "sales",
    "noreply",
    "x_y",
];
const DOMAINS: [&str; 8] = [
    "example.org",
    "mail.example.com",
    "b.example",
    "lists.some-university.example",
    "xn--bcher-kva.example",
    "gmx.example",
    "a.co",
    "eu-west-1.mailer.cloud.example",
];

fn address(rng: &mut Seeded) -> String {
    format!("{}@{}", rng.pick(&NAMES), rng.pick(&DOMAINS))
}

/// The lines of whole sessions, one command each with its CRLF.
pub(crate) fn commands(seed: u64, count: usize) -> Vec<String> {
    let mut rng = Seeded::new(seed);
    let mut lines = Vec::new();
    while lines.len() < count {
        session(&mut rng, &mut lines);
    }
    lines.truncate(count);
    lines
}

fn session(rng: &mut Seeded, lines: &mut Vec<String>) {
    let host = format!("mx{}.{}", rng.below(20), rng.pick(&DOMAINS));
    lines.push(format!("EHLO {host}\r\n"));
    if rng.percent(60) {
        lines.push("STARTTLS\r\n".into());
        lines.push(format!("EHLO {host}\r\n"));
    }
    if rng.percent(20) {
        lines.push("AUTH PLAIN AGFsaWNlQGV4YW1wbGUub3JnAGEgc2VjcmV0IHBhc3N3b3Jk\r\n".into());
    }
    for _ in 0..=rng.below(2) {
        transaction(rng, lines);
    }
    if rng.percent(10) {
        lines.push("NOOP\r\n".into());
    }
    lines.push("QUIT\r\n".into());
}

fn transaction(rng: &mut Seeded, lines: &mut Vec<String>) {
    lines.push(mail(rng));
    for _ in 0..=rng.below(4) {
        lines.push(rcpt(rng));
    }
    match rng.below(20) {
        0 => lines.push("BDAT 0 LAST\r\n".into()),
        1 => lines.push("RSET\r\n".into()),
        _ => lines.push("DATA\r\n".into()),
    }
}

fn mail(rng: &mut Seeded) -> String {
    let from = if rng.percent(10) { String::new() } else { address(rng) };
    let verb = if rng.percent(5) { "mail from" } else { "MAIL FROM" };
    let mut line = format!("{verb}:<{from}>");
    if rng.percent(60) {
        line += &format!(" SIZE={}", rng.below(20_000_000));
    }
    if rng.percent(30) {
        line += " BODY=8BITMIME";
    }
    if rng.percent(5) {
        line += &format!(" RET=HDRS ENVID=QQ{}", rng.below(1_000_000));
    }
    if rng.percent(5) {
        line += " SMTPUTF8";
    }
    line + "\r\n"
}

fn rcpt(rng: &mut Seeded) -> String {
    let to = address(rng);
    let mut line = format!("RCPT TO:<{to}>");
    if rng.percent(10) {
        line += &format!(" NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;{}", to.replace(['+', '='], "_"));
    }
    line + "\r\n"
}

/// Replies as a client hears them in such sessions.
pub(crate) fn replies(seed: u64, count: usize) -> Vec<String> {
    let mut rng = Seeded::new(seed);
    let reply = |rng: &mut Seeded| match rng.below(12) {
        0 => "220 mx.example.org ESMTP ready\r\n".to_owned(),
        1 => "250-mx.example.org greets you\r\n250-PIPELINING\r\n250-SIZE 52428800\r\n250-8BITMIME\r\n\
            250-STARTTLS\r\n250-ENHANCEDSTATUSCODES\r\n250-CHUNKING\r\n250-DSN\r\n250 SMTPUTF8\r\n"
            .to_owned(),
        2 | 3 => format!("250 2.1.0 <{}> sender ok\r\n", address(rng)),
        4..=7 => format!("250 2.1.5 <{}> recipient ok\r\n", address(rng)),
        8 => "354 go ahead\r\n".to_owned(),
        9 => format!("250 2.0.0 queued as {:X}\r\n", rng.next()),
        10 => "550-5.1.1 no such user here,\r\n550 5.1.1 sorry\r\n".to_owned(),
        _ => "221 2.0.0 bye\r\n".to_owned(),
    };
    (0..count).map(|_| reply(&mut rng)).collect()
}

/// A message of about `size` octets as it stands on the wire, stuffed and ended; every `dotted`th line begins with a dot.
pub(crate) fn message(seed: u64, size: usize, dotted: Option<u64>) -> Vec<u8> {
    let mut rng = Seeded::new(seed);
    let mut wire = Vec::with_capacity(size + 128);
    while wire.len() < size {
        if dotted.is_some_and(|every| rng.below(every) == 0) {
            wire.extend(b"..");
        }
        let len = 40 + rng.below(37);
        wire.extend(
            (0..len)
                .map(|_| b"abcdefghijklmnopqrstuvwxyz ABCD0123456789./="[rng.below(44) as usize])
                .skip_while(|b| *b == b'.'),
        );
        wire.extend(b"\r\n");
    }
    wire.extend(b".\r\n");
    wire
}

/// Input of about so many octets that means no good.
pub(crate) type Hostile = (&'static str, fn(usize) -> Vec<u8>);

/// What could make a careless parser look at the same octets again and again.
pub(crate) const HOSTILE: [Hostile; 10] = [
    ("a line without end", |n| vec![b'x'; n]),
    ("dots", |n| [b"DATA\r\n".as_slice(), &b"\r\n.".repeat(n / 3)].concat()),
    ("dots and returns", |n| [b"DATA\r\n".as_slice(), &b".\r".repeat(n / 2)].concat()),
    ("bare returns", |n| b"\r".repeat(n)),
    ("quoted pairs", |n| [b"MAIL FROM:<\"".as_slice(), &b"\\a".repeat(n / 2), b"\r\n"].concat()),
    ("labels", |n| [b"RCPT TO:<a@".as_slice(), &b"b.".repeat(n / 2), b">\r\n"].concat()),
    ("source routes", |n| [b"RCPT TO:<".as_slice(), &b"@a,".repeat(n / 3), b">\r\n"].concat()),
    ("parameters", |n| [b"MAIL FROM:<a@b>".as_slice(), &b" X=y".repeat(n / 4), b"\r\n"].concat()),
    ("xtext", |n| [b"MAIL FROM:<a@b> ENVID=".as_slice(), &b"+41".repeat(n / 3), b"\r\n"].concat()),
    ("empty lines", |n| b"\r\n".repeat(n / 2)),
];
