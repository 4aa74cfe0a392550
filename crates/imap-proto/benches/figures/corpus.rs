//! What clients and servers say to each other all day, generated from a seed.

/// Small and good enough: xorshift64*.
pub(crate) struct Seeded(u64);

impl Seeded {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }

    fn pick<'p>(&mut self, from: &[&'p str]) -> &'p str {
        from[self.below(from.len() as u64) as usize]
    }

    fn uid(&mut self) -> u64 {
        1 + self.below(99_999)
    }
}

const MAILBOXES: &[&str] = &[
    "INBOX",
    "Sent",
    "Drafts",
    "\"Sent Items\"",
    "Archive.2025",
    "lists.rust-users",
    "\"Entw&APw-rfe\"",
    "Trash",
];
const WORDS: &[&str] =
    &["invoice", "meeting", "\"quarterly report\"", "alice@example.org", "budget", "\"re: lunch\""];
const HEADERS: &str = "From To Cc Bcc Subject Date Message-ID Priority X-Priority References Newsgroups In-Reply-To Content-Type Reply-To";

/// Sessions as mail programs have them, a command a line.
pub(crate) fn commands(seed: u64, sessions: usize) -> Vec<String> {
    let mut rng = Seeded::new(seed);
    let mut lines = Vec::new();
    for _ in 0..sessions {
        let mut tag = 0;
        let mut say = |text: String| {
            tag += 1;
            lines.push(format!("A{tag:04} {text}\r\n"));
        };
        say("CAPABILITY".into());
        say(format!("LOGIN user{}@example.org \"pass word {}\"", rng.below(1000), rng.uid()));
        say("NAMESPACE".into());
        say("ENABLE CONDSTORE".into());
        say("LIST \"\" \"*\"".into());
        say("LSUB \"\" \"*\"".into());
        for _ in 0..3 {
            say(format!("STATUS {} (MESSAGES UIDNEXT UIDVALIDITY UNSEEN)", rng.pick(MAILBOXES)));
        }
        say(format!("SELECT {}", rng.pick(MAILBOXES)));
        say(format!("SELECT {} (CONDSTORE)", rng.pick(MAILBOXES)));
        say("UID FETCH 1:* (FLAGS)".into());
        for _ in 0..6 {
            messages(&mut rng, &mut say);
        }
        say("IDLE".into());
        say("CLOSE".into());
        say("LOGOUT".into());
    }
    lines
}

fn messages(rng: &mut Seeded, say: &mut dyn FnMut(String)) {
    // Ascending and apart: imap-codec normalizes what it encodes.
    let a = rng.uid();
    let b = a + 2 + rng.below(500);
    let c = b + 2 + rng.below(500);
    say("NOOP".into());
    match rng.below(4) {
        0 => say(format!(
            "UID FETCH {a}:{} (UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS ({HEADERS})])",
            a + 50
        )),
        1 => say(format!("UID FETCH {a},{b},{c} (FLAGS ENVELOPE INTERNALDATE RFC822.SIZE BODYSTRUCTURE)")),
        2 => say(format!("UID FETCH {a} (BODY.PEEK[] UID FLAGS)")),
        _ => say(format!("UID FETCH {a} BODY.PEEK[1.2]<0.16384>")),
    }
    match rng.below(3) {
        0 => say(format!("UID STORE {a} +FLAGS (\\Seen)")),
        1 => say(format!("UID STORE {a}:{b} +FLAGS.SILENT (\\Deleted \\Seen $Junk)")),
        _ => say(format!("UID STORE {a} -FLAGS.SILENT (\\Flagged)")),
    }
    match rng.below(3) {
        0 => say(format!("UID SEARCH UNSEEN SINCE {}-Feb-2026 NOT DELETED", 1 + rng.below(28))),
        1 => say(format!(
            "UID SEARCH OR FROM {} SUBJECT {} SMALLER 100000 NOT SEEN",
            rng.pick(WORDS),
            rng.pick(WORDS)
        )),
        _ => say(format!("UID COPY {a} {}", rng.pick(MAILBOXES))),
    }
}

/// `* n FETCH (UID u FLAGS (...))`
pub(crate) fn flags(seed: u64, lines: usize) -> Vec<String> {
    let mut rng = Seeded::new(seed);
    let sets = ["\\Seen", "\\Seen \\Answered", "", "\\Flagged \\Seen", "\\Seen $Forwarded", "\\Recent"];
    (0..lines)
        .map(|_| format!("* {} FETCH (UID {} FLAGS ({}))\r\n", rng.uid(), rng.uid(), rng.pick(&sets)))
        .collect()
}

fn address(rng: &mut Seeded) -> String {
    let name = rng.pick(&["\"Terry Gray\"", "\"Ann E. Lee\"", "NIL", "\"=?utf-8?q?J=C3=B6rg?=\""]);
    format!("({name} NIL \"user{}\" \"{}\")", rng.below(1000), rng.pick(&["example.org", "mail.example.com"]))
}

fn leaf(rng: &mut Seeded) -> String {
    let n = rng.below(90_000);
    match rng.below(3) {
        0 => format!(
            "(\"TEXT\" \"PLAIN\" (\"CHARSET\" \"utf-8\" \"FORMAT\" \"flowed\") NIL NIL \"QUOTED-PRINTABLE\" {n} {} NIL NIL NIL NIL)",
            n / 40
        ),
        1 => format!(
            "(\"TEXT\" \"HTML\" (\"CHARSET\" \"utf-8\") NIL NIL \"7BIT\" {n} {} NIL NIL NIL NIL)",
            n / 60
        ),
        _ => format!(
            "(\"APPLICATION\" \"PDF\" (\"NAME\" \"report-{n}.pdf\") \"<part{n}@example.org>\" NIL \"BASE64\" {n} NIL (\"ATTACHMENT\" (\"FILENAME\" \"report-{n}.pdf\")) NIL NIL)"
        ),
    }
}

/// ENVELOPE and BODYSTRUCTURE of a mail with an alternative and attachments.
pub(crate) fn structures(seed: u64, lines: usize) -> Vec<String> {
    let mut rng = Seeded::new(seed);
    (0..lines)
        .map(|_| {
            let from = address(&mut rng);
            let to: String = (0..1 + rng.below(4)).map(|_| address(&mut rng)).collect();
            let envelope = format!(
                "(\"Wed, 17 Jul 2026 02:23:25 -0700\" \"Re: IMAP4rev1 WG mtg summary and minutes {}\" ({from}) ({from}) ({from}) ({to}) NIL NIL \"<B{}@example.org>\" \"<C{}@example.org>\")",
                rng.uid(), rng.uid(), rng.uid()
            );
            let leaves: Vec<String> = (0..5).map(|_| leaf(&mut rng)).collect();
            format!(
                "* {} FETCH (UID {} FLAGS (\\Seen) INTERNALDATE \"17-Jul-2026 02:44:25 -0700\" RFC822.SIZE {} ENVELOPE {envelope} BODYSTRUCTURE (({}{} \"ALTERNATIVE\" (\"BOUNDARY\" \"=_alt\") NIL NIL NIL){}{}{} \"MIXED\" (\"BOUNDARY\" \"=_mix\") NIL NIL NIL))\r\n",
                rng.uid(), rng.uid(), rng.uid(), leaves[0], leaves[1], leaves[2], leaves[3], leaves[4]
            )
        })
        .collect()
}

/// `* SEARCH` with so many ids, ascending.
pub(crate) fn search(seed: u64, ids: usize) -> String {
    let mut rng = Seeded::new(seed);
    let mut line = String::from("* SEARCH");
    let mut id = 1000;
    for _ in 0..ids {
        id += 1 + rng.below(3);
        line.push_str(&format!(" {id}"));
    }
    line.push_str("\r\n");
    line
}
