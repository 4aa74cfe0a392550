//! Every example of the covered RFCs, transcribed into `tests/examples`: each session runs through the receivers of both sides
//! in several splits, each command means what stands under it and is sent again octet by octet, and so is each reply.
//!
//! In a transcript `## ` begins a session and names the section; `C: ` and `S: ` are lines of the client and of the server,
//! broken lines joined; `C*324` are so many octets of a chunk that the RFC does not print; `= ` is what the command or the
//! reply to EHLO above means; `~ ` what we send for the command above, where the RFC has what it allows but does not want
//! sent; `# ` is a remark.

use std::collections::VecDeque;
use std::fmt::Write as _;

use posthaste_smtp_proto::*;

/// Name, transcript, and how many lines of examples it has, so that none is lost.
const TRANSCRIPTS: [(&str, &str, usize); 20] = [
    ("RFC 1652 (RFC 6152 has the same)", include_str!("../examples/rfc1652.txt"), 14),
    ("RFC 1870", include_str!("../examples/rfc1870.txt"), 20),
    ("RFC 2033", include_str!("../examples/rfc2033.txt"), 22),
    ("RFC 2034", include_str!("../examples/rfc2034.txt"), 19),
    ("RFC 2554", include_str!("../examples/rfc2554.txt"), 12),
    ("RFC 2645", include_str!("../examples/rfc2645.txt"), 21),
    ("RFC 2852", include_str!("../examples/rfc2852.txt"), 21),
    ("RFC 2920", include_str!("../examples/rfc2920.txt"), 65),
    ("RFC 3030", include_str!("../examples/rfc3030.txt"), 37),
    ("RFC 3207", include_str!("../examples/rfc3207.txt"), 12),
    ("RFC 3461", include_str!("../examples/rfc3461.txt"), 106),
    ("RFC 4468", include_str!("../examples/rfc4468.txt"), 46),
    ("RFC 4954", include_str!("../examples/rfc4954.txt"), 47),
    ("RFC 5321", include_str!("../examples/rfc5321.txt"), 145),
    ("RFC 6710", include_str!("../examples/rfc6710.txt"), 67),
    ("RFC 7628", include_str!("../examples/rfc7628.txt"), 24),
    ("RFC 8689", include_str!("../examples/rfc8689.txt"), 27),
    ("RFC 9422", include_str!("../examples/rfc9422.txt"), 11),
    ("Postfix XCLIENT_README", include_str!("../examples/postfix_xclient.txt"), 30),
    ("Postfix XFORWARD_README", include_str!("../examples/postfix_xforward.txt"), 24),
];

/// A line of an example.
#[derive(Debug)]
struct Step<'a> {
    is_client: bool,
    /// With its CRLF, if it has one.
    octets: Vec<u8>,
    line: &'a str,
    meaning: Option<&'a str>,
    sent: Option<&'a str>,
}

fn sessions(transcript: &str) -> Vec<(&str, Vec<Step<'_>>)> {
    let mut sessions: Vec<(&str, Vec<Step<'_>>)> = Vec::new();
    for line in transcript.lines() {
        if let Some(section) = line.strip_prefix("## ") {
            sessions.push((section, Vec::new()));
            continue;
        }
        let Some((_, steps)) = sessions.last_mut() else { continue };
        let (mark, rest) = line.split_at(2);
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        match mark {
            "C:" | "S:" => steps.push(Step {
                is_client: mark == "C:",
                octets: format!("{rest}\r\n").into_bytes(),
                line: rest,
                meaning: None,
                sent: None,
            }),
            "C*" => steps.push(Step {
                is_client: true,
                octets: vec![b'x'; rest.parse().unwrap()],
                line: rest,
                meaning: None,
                sent: None,
            }),
            "= " => steps.last_mut().unwrap().meaning = Some(rest),
            "~ " => steps.last_mut().unwrap().sent = Some(rest),
            "# " => {}
            _ => panic!("{line}"),
        }
    }
    sessions
}

#[test]
fn no_example_is_lost() {
    for (name, transcript, lines) in TRANSCRIPTS {
        let found: usize = sessions(transcript).iter().map(|(_, steps)| steps.len()).sum();
        assert_eq!(found, lines, "{name}");
    }
}

#[test]
fn every_session_of_the_rfcs_runs_on_both_sides() {
    for (name, transcript, _) in TRANSCRIPTS {
        for (section, steps) in sessions(transcript) {
            let replies = replies(&steps, &format!("{name} §{section}"));
            for piece in [1, 2, 7, usize::MAX] {
                Session::new(format!("{name} §{section} in {piece}"), &steps, replies.clone()).run(piece);
            }
        }
    }
}

/// Code, lines, and whether each line is the last, told apart without the parser under test.
fn by_hand(line: &str) -> (u16, bool, &str) {
    let (code, rest) = line.split_at(3);
    (code.parse().unwrap(), !rest.starts_with('-'), rest.get(1..).unwrap_or_default())
}

/// The client's side: the server's lines as replies, each with what it means.
fn replies<'a>(steps: &[Step<'a>], place: &str) -> VecDeque<(Reply, Option<&'a str>)> {
    let server: Vec<&Step<'a>> = steps.iter().filter(|step| !step.is_client).collect();
    let wire: Vec<u8> = server.iter().flat_map(|step| step.octets.clone()).collect();
    let read = |piece: usize| {
        let mut receiver = ReplyReceiver::default();
        let mut replies = Vec::new();
        for mut input in wire.chunks(piece.min(wire.len().max(1))) {
            while let Some(reply) = receiver.next(&mut input) {
                replies.push(reply.unwrap_or_else(|error| panic!("{place}: {error}")));
            }
        }
        replies
    };
    let replies = read(usize::MAX);
    assert!([1, 2, 7].into_iter().all(|piece| read(piece) == replies), "{place}: any split");
    let mut again = Vec::new();
    replies.iter().for_each(|reply| reply.encode(&mut again));
    assert_eq!(String::from_utf8_lossy(&again), String::from_utf8_lossy(&wire), "{place}");
    let mut lines = server.iter();
    let told: Vec<_> =
        replies.into_iter().map(|reply| (check_reply(&reply, &mut lines, place), reply)).collect();
    told.into_iter().map(|(meaning, reply)| (reply, meaning)).collect()
}

fn check_reply<'a>(
    reply: &Reply,
    lines: &mut std::slice::Iter<'_, &Step<'a>>,
    place: &str,
) -> Option<&'a str> {
    let mut meaning = None;
    let enhanced = reply.enhanced().map(|e| format!("{}.{}.{} ", reply.code() / 100, e.subject, e.detail));
    for text in reply.lines() {
        let step = lines.next().unwrap();
        let (code, _, rest) = by_hand(step.line);
        assert_eq!(reply.code(), code, "{place}: {}", step.line);
        assert_eq!(format!("{}{text}", enhanced.as_deref().unwrap_or_default()), rest, "{place}");
        let has_code = rest.split(' ').next().is_some_and(|word| {
            word.split('.').count() == 3 && word.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        });
        assert_eq!(enhanced.is_some(), has_code, "{place}: {}", step.line);
        meaning = step.meaning;
    }
    meaning
}

/// The server's side of a session, answering as the transcript does.
struct Session<'a> {
    place: String,
    steps: &'a [Step<'a>],
    client: std::iter::Peekable<std::slice::Iter<'a, Step<'a>>>,
    replies: VecDeque<(Reply, Option<&'a str>)>,
    offered: Option<Ehlo>,
    is_lmtp: bool,
    accepted: usize,
    body: Vec<u8>,
}

impl<'a> Session<'a> {
    fn new(place: String, steps: &'a [Step<'a>], mut replies: VecDeque<(Reply, Option<&'a str>)>) -> Self {
        // The greeting, where the RFC prints it.
        let first_client = steps.iter().position(|step| step.is_client).unwrap_or(steps.len());
        let greetings = steps[..first_client].iter().filter(|step| by_hand(step.line).1).count();
        replies.drain(..greetings);
        Self {
            place,
            steps,
            client: steps.iter().peekable(),
            replies,
            offered: None,
            is_lmtp: false,
            accepted: 0,
            body: Vec::new(),
        }
    }

    fn run(mut self, piece: usize) {
        let mut receiver = Receiver::new(Config::default());
        for flight in self.flights() {
            for mut input in flight.chunks(piece.min(flight.len())) {
                while let Some(event) = receiver.next(&mut input).map(crate::own) {
                    self.answer(event, &mut receiver, &mut input);
                }
                assert!(input.is_empty(), "{}", self.place);
            }
        }
        assert!(self.next_client().is_none(), "{}: a line that was not read", self.place);
        assert!(self.replies.is_empty(), "{}: {:?}", self.place, self.replies);
    }

    /// What the client sends, parted where TLS begins.
    fn flights(&self) -> Vec<Vec<u8>> {
        let mut flights = vec![Vec::new()];
        for step in self.steps.iter().filter(|step| step.is_client) {
            flights.last_mut().unwrap().extend(&step.octets);
            if step.line == "STARTTLS" {
                flights.push(Vec::new());
            }
        }
        flights.retain(|flight| !flight.is_empty());
        flights
    }

    fn next_client(&mut self) -> Option<&'a Step<'a>> {
        self.client.by_ref().find(|step| step.is_client)
    }

    /// The next reply's code; 0 where the transcript ends before it.
    fn reply(&mut self) -> u16 {
        self.replies.pop_front().map_or(0, |(reply, _)| reply.code())
    }

    fn answer(&mut self, event: crate::Seen, receiver: &mut Receiver, input: &mut &[u8]) {
        use crate::Seen;
        match event {
            Seen::Command(command) => self.command(&command, receiver, input),
            Seen::Sasl(message) => {
                assert_eq!(message.as_deref(), self.next_client().map(|step| step.line), "{}", self.place);
                if self.reply() == 334 {
                    receiver.expect_sasl();
                }
            }
            Seen::Body(text) => self.body.extend(text),
            Seen::EndOfData(violation) => {
                assert_eq!(violation, None);
                self.end_of_data();
            }
            Seen::EndOfChunk(_, violation) => {
                assert_eq!(violation, None);
                self.end_of_chunk();
            }
            Seen::Refused(error) => panic!("{}: {error}", self.place),
        }
    }

    fn command(&mut self, command: &Command<'_>, receiver: &mut Receiver, input: &mut &[u8]) {
        let step = self.next_client().unwrap();
        assert_eq!(Some(describe(command).as_str()), step.meaning, "{}: {}", self.place, step.line);
        let mut sent = Vec::new();
        command.encode(&mut sent);
        let expected = format!("{}\r\n", step.sent.unwrap_or(step.line));
        assert_eq!(String::from_utf8_lossy(&sent), expected, "{}", self.place);
        if matches!(command, Command::Bdat { .. }) {
            return;
        }
        let answered = self.replies.pop_front();
        let code = answered.as_ref().map_or(0, |(reply, _)| reply.code());
        self.check_offer(command, code);
        match command {
            Command::Ehlo(_) | Command::Lhlo(_) => self.ehlo(command, answered),
            Command::Rcpt { .. } => self.accepted += usize::from(code / 100 == 2),
            Command::Data if code == 354 => receiver.accept_data(),
            Command::Auth { .. } if code == 334 => receiver.expect_sasl(),
            Command::StartTls if code == 220 => {
                assert_eq!(receiver.start_tls(input), 0, "{}: nothing came in the clear", self.place);
                self.offered = None;
            }
            _ => {}
        }
    }

    /// What an example's client sends was offered to it, or refused to it.
    fn check_offer(&self, command: &Command<'_>, code: u16) {
        if let Some(offered) = &self.offered {
            let permitted = offered.permits(command).is_ok();
            assert!(permitted || code == 504, "{}: {command} was not offered", self.place);
        }
    }

    fn ehlo(&mut self, command: &Command<'_>, answered: Option<(Reply, Option<&'a str>)>) {
        self.is_lmtp |= matches!(command, Command::Lhlo(_));
        let Some((reply, meaning)) = answered.filter(|(reply, _)| reply.code() == 250) else { return };
        let ehlo = Ehlo::parse(&reply).unwrap_or_else(|| panic!("{}: {reply}", self.place));
        assert_eq!(Some(describe_ehlo(&ehlo).as_str()), meaning, "{}: {reply}", self.place);
        self.offered = Some(ehlo);
    }

    fn end_of_data(&mut self) {
        let mut wire = Vec::new();
        loop {
            let step = self.next_client().unwrap();
            wire.extend(&step.octets);
            if step.line == "." {
                break;
            }
        }
        let body = std::mem::take(&mut self.body);
        let mut stuffer = Stuffer::new();
        let mut again: Vec<u8> = stuffer.stuff(&body).flatten().copied().collect();
        again.extend(stuffer.finish());
        assert_eq!(String::from_utf8_lossy(&again), String::from_utf8_lossy(&wire), "{}", self.place);
        // LMTP answers for each recipient that was accepted (RFC 2033 §4.2).
        (0..if self.is_lmtp { self.accepted } else { 1 }).for_each(|_| assert_ne!(self.reply(), 0));
        self.accepted = 0;
    }

    fn end_of_chunk(&mut self) {
        let body = std::mem::take(&mut self.body);
        let mut rest = body.as_slice();
        while !rest.is_empty() {
            let step = self.next_client().unwrap();
            rest = rest.strip_prefix(step.octets.as_slice()).unwrap_or_else(|| panic!("{}", self.place));
        }
        assert_eq!(self.reply(), 250, "{}", self.place);
    }
}

/// The typed value in words of its fields, so that nothing of the encoder is in it.
fn describe(command: &Command<'_>) -> String {
    match command {
        Command::Ehlo(name) => format!("Ehlo {}", name.as_str()),
        Command::Helo(name) => format!("Helo {}", name.as_str()),
        Command::Lhlo(name) => format!("Lhlo {}", name.as_str()),
        Command::Mail { from, params } => {
            format!("Mail from {}{}", describe_from(from), describe_mail(params))
        }
        Command::Rcpt { to, params } => format!("Rcpt to {}{}", describe_to(to), describe_rcpt(params)),
        Command::Bdat { size, last } => format!("Bdat of {size}{}", if *last { ", the last" } else { "" }),
        Command::Burl { url, last } => {
            let authority = url.as_str().split('/').nth(2).unwrap();
            let length = url.as_str().len();
            format!("Burl at {authority} of {length}{}", if *last { ", the last" } else { "" })
        }
        Command::Vrfy(text) => format!("Vrfy of {:?}", text.as_str()),
        Command::Expn(text) => format!("Expn of {:?}", text.as_str()),
        Command::Auth { mechanism, initial } => {
            let initial = initial.as_ref().map(|secret| secret.expose().len());
            format!("Auth by {}, initially {initial:?} octets", mechanism.as_str())
        }
        Command::Atrn(domains) => {
            format!("Atrn of {:?}", domains.iter().map(DomainName::as_str).collect::<Vec<_>>())
        }
        Command::XClient(attributes) => format!("XClient {attributes:?}"),
        Command::XForward(attributes) => format!("XForward {attributes:?}"),
        Command::Data => "Data".to_owned(),
        Command::Quit => "Quit".to_owned(),
        Command::Rset => "Rset".to_owned(),
        Command::StartTls => "StartTls".to_owned(),
        other => panic!("no example has {other:?}"),
    }
}

fn describe_mailbox(mailbox: &Mailbox<'_>) -> String {
    let domain = match &mailbox.domain {
        Domain::Name(name) => name.as_str(),
        other => panic!("no example has {other:?}"),
    };
    format!("{} at {domain}", mailbox.local.as_str())
}

fn describe_from(path: &ReversePath<'_>) -> String {
    match path {
        ReversePath::Null => "nobody".to_owned(),
        ReversePath::Mailbox(mailbox) => describe_mailbox(mailbox),
    }
}

fn describe_to(path: &ForwardPath<'_>) -> String {
    match path {
        ForwardPath::Mailbox(mailbox) => describe_mailbox(mailbox),
        ForwardPath::Postmaster => "postmaster".to_owned(),
    }
}

fn describe_mail(params: &MailParams<'_>) -> String {
    let mut out = String::new();
    let mut put = |name: &str, value: Option<String>| {
        let separator = if value.as_ref().is_some_and(String::is_empty) { "" } else { " " };
        value.into_iter().for_each(|value| write!(out, ", {name}{separator}{value}").unwrap());
    };
    put("size", params.size.map(|size| size.to_string()));
    put("body", params.body.map(|body| format!("{body:?}")));
    put("smtputf8", params.smtputf8.then(String::new));
    put(
        "auth",
        params.auth.as_ref().map(|auth| match auth {
            AuthSender::Unknown => "unknown".to_owned(),
            AuthSender::Address(sender) => sender.as_str().to_owned(),
        }),
    );
    put("ret", params.ret.map(|ret| format!("{ret:?}")));
    put("envid", params.envid.as_ref().map(|id| id.as_str().to_owned()));
    put("requiretls", params.requiretls.then(String::new));
    put("priority", params.mt_priority.map(|priority| priority.to_string()));
    put(
        "by",
        params
            .by()
            .map(|by| format!("{} s {:?}{}", by.seconds, by.mode, if by.trace { " traced" } else { "" })),
    );
    assert!(params.hold().is_none() && params.other().is_empty(), "no example has more");
    out
}

fn describe_rcpt(params: &RcptParams<'_>) -> String {
    let mut out = String::new();
    if let Some(notify) = &params.notify {
        write!(out, ", notify {notify:?}").unwrap();
    }
    if let Some(orcpt) = &params.orcpt {
        write!(out, ", originally {} {}", orcpt.address_type(), orcpt.address()).unwrap();
    }
    assert!(params.other.is_empty(), "no example has more");
    out
}

fn describe_ehlo(ehlo: &Ehlo) -> String {
    let greeting = ehlo.greeting.as_ref().map(|text| format!(" saying {:?}", text.as_str()));
    format!("{}{}: {:?}", ehlo.domain.as_str(), greeting.unwrap_or_default(), ehlo.extensions)
}

/// Octets, who sends them, and why the RFC does not allow what one of its own examples has; what we say instead.
type Erroneous = (&'static str, Side, &'static str, &'static str, &'static str);

enum Side {
    Client,
    Server,
}

#[test]
fn examples_that_break_their_rfc_are_refused_for_that() {
    let erroneous: [Erroneous; 9] = [
        (
            "RFC 4954 §4.1",
            Side::Server,
            "220-smtp.example.com ESMTP Server\r\n250-smtp.example.com Hello client.example.com\r\n",
            "a greeting of which the last line is missing (RFC 5321 §4.2.1)",
            "reply code changed within a reply",
        ),
        (
            "RFC 8689 §A.1",
            Side::Server,
            "TLS go ahead\r\n",
            "a reply begins with three digits (RFC 5321 §4.2)",
            "malformed reply line",
        ),
        (
            "RFC 7628 §4.1",
            Side::Client,
            "t1 AUTH OAUTHBEARER bixhPXVzZXI=",
            "SMTP has no tags (RFC 4954 §4)",
            "500 5.5.1 unknown command",
        ),
        (
            "RFC 2821 §D.4",
            Side::Client,
            "SEND FROM:<EAK@bar.com>",
            "not to be implemented (RFC 5321 §F.6)",
            "502 5.5.1 this command is obsolete",
        ),
        (
            "RFC 2852 §8",
            Side::Client,
            "MAIL FROM:<a@b.example> BY=0;R",
            "a return must be asked for a later time (RFC 2852 §4)",
            "501 5.5.4 malformed parameter",
        ),
        (
            "RFC 821 §3.8",
            Side::Client,
            "TURN",
            "not to be implemented (RFC 5321 §F.1)",
            "502 5.5.1 this command is obsolete",
        ),
        (
            "RFC 821 §3.4",
            Side::Client,
            "SOML FROM:<EAK@bar.com>",
            "not to be implemented (RFC 5321 §F.6)",
            "502 5.5.1 this command is obsolete",
        ),
        (
            "RFC 3030 §4.1, as printed",
            Side::Client,
            "BDAT 86 LAST<CR><LF>",
            "the line end is meant, not printed",
            "421 4.5.4 malformed BDAT size, closing",
        ),
        (
            "RFC 5321 §4.5.2, as printed",
            Side::Client,
            "<CRLF>.<CRLF>",
            "the line end is meant, not printed",
            "500 5.5.1 unknown command",
        ),
    ];
    for (from, side, octets, why, answer) in erroneous {
        let said = match side {
            Side::Client => Command::parse(octets.as_bytes()).unwrap_err().reply().to_string(),
            Side::Server => {
                let mut input = octets.as_bytes();
                ReplyReceiver::default().next(&mut input).unwrap().unwrap_err().to_string()
            }
        };
        assert_eq!(said, answer, "{from}: {why}");
    }
}

/// `proxy-protocol.txt` of 2020/03/05, §2.1 and §2.2.
#[test]
fn the_headers_of_the_proxy_protocol_s_document() {
    let stream = |source: &str, destination: &str| ProxyAddresses::Stream {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
    };
    let longest_v6 = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535";
    let full = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    for (line, addresses, canonical) in [
        (
            "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n".to_owned(),
            stream("192.168.0.1:56324", "192.168.0.11:443"),
            true,
        ),
        (
            "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n".to_owned(),
            stream("255.255.255.255:65535", "255.255.255.255:65535"),
            true,
        ),
        (format!("PROXY TCP6 {full} {full} 65535 65535\r\n"), stream(longest_v6, longest_v6), true),
        ("PROXY UNKNOWN\r\n".to_owned(), ProxyAddresses::Unknown, true),
        // What follows UNKNOWN is ignored, so it is not sent again.
        (format!("PROXY UNKNOWN {full} {full} 65535 65535\r\n"), ProxyAddresses::Unknown, false),
    ] {
        // The document's own example has a request of HTTP behind it.
        let wire = format!("{line}GET / HTTP/1.1\r\n");
        let (header, len) = ProxyHeader::parse(wire.as_bytes(), 536).unwrap().unwrap();
        assert_eq!((header.addresses, len), (addresses, line.len()), "{line}");
        let mut again = Vec::new();
        header.encode_v1(&mut again);
        assert_eq!(again == line.as_bytes(), canonical, "{line}");
    }
    // The signature, and a header of version 2 in the local form that the receiver must take.
    let local = b"\x0D\x0A\x0D\x0A\x00\x0D\x0A\x51\x55\x49\x54\x0A\x20\x00\x00\x00";
    let (header, len) = ProxyHeader::parse(local, 536).unwrap().unwrap();
    assert_eq!((header.addresses, len), (ProxyAddresses::Unknown, 16));
}
