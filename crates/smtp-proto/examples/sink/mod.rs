//! What both sinks are but for their sockets.

use posthaste_smtp_proto::{
    ClientName, Command, Config, Ehlo, Event, Extension, ForwardPath, Receiver, Reply, SyntaxError,
};

/// A session without I/O: octets in by [`Sink::read`], octets out of [`Sink::take_output`].
pub(crate) struct Sink {
    receiver: Receiver,
    session: Session,
    out: Vec<u8>,
}

impl Sink {
    /// At the start of a connection, with the greeting to send.
    pub(crate) fn new() -> Self {
        let mut out = Vec::new();
        Reply::plain(220, "sink ESMTP").encode(&mut out);
        Self { receiver: Receiver::new(Config::default()), session: Session::default(), out }
    }

    /// Takes what was read: asks the receiver for events until there are none, and answers each.
    pub(crate) fn read(&mut self, mut input: &[u8]) {
        while let Some(event) = self.receiver.next(&mut input) {
            let data = matches!(event, Event::Command(Command::Data));
            let accepted = self.session.answer(event, &mut self.out);
            if data && accepted {
                self.receiver.accept_data();
            }
        }
    }

    /// What is to be written now.
    pub(crate) fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// Whether the client is to be let go once all is written.
    pub(crate) fn is_over(&self) -> bool {
        self.session.over
    }

    /// How much mail came.
    pub(crate) fn octets(&self) -> u64 {
        self.session.octets
    }
}

/// What the sink knows of a session.
#[derive(Default)]
struct Session {
    recipients: usize,
    octets: u64,
    over: bool,
}

impl Session {
    /// Puts out the answer to an event; whether it was a yes.
    fn answer(&mut self, event: Event<'_>, out: &mut Vec<u8>) -> bool {
        let reply = match event {
            // The chunk is on its way; its end is answered.
            Event::Command(Command::Bdat { .. }) => return true,
            Event::Command(command) => self.command(&command),
            Event::Body(text) => {
                self.octets += text.len() as u64;
                return true;
            }
            Event::EndOfData { violation: None } | Event::EndOfChunk { violation: None, .. } => {
                Reply::new(250, (0, 0), "sunk")
            }
            Event::EndOfData { violation: Some(violation) }
            | Event::EndOfChunk { violation: Some(violation), .. } => violation.reply(),
            Event::Refused(error) => {
                self.over |= error.is_fatal();
                error.reply()
            }
            Event::Sasl(_) => Reply::new(503, (5, 1), "nobody asked"),
        };
        reply.encode(out);
        !reply.is_permanent()
    }

    fn command(&mut self, command: &Command<'_>) -> Reply {
        match command {
            Command::Ehlo(_) | Command::Lhlo(_) => extensions(),
            Command::Helo(_) => Reply::plain(250, "sink"),
            Command::Mail { from, .. } => {
                self.recipients = 0;
                Reply::new(250, (1, 0), format!("sender {from} fine"))
            }
            Command::Rcpt { to: ForwardPath::Mailbox(to), .. } => {
                self.recipients += 1;
                Reply::new(250, (1, 5), format!("recipient <{to}> fine"))
            }
            Command::Data if self.recipients == 0 => Reply::new(503, (5, 1), "MAIL and RCPT first"),
            Command::Data => Reply::plain(354, "go ahead"),
            Command::Quit => {
                self.over = true;
                Reply::new(221, (0, 0), "goodbye")
            }
            Command::Noop(_) | Command::Rset => Reply::new(250, (0, 0), "fine"),
            _ => SyntaxError::UnknownCommand.reply(),
        }
    }
}

fn extensions() -> Reply {
    let domain = ClientName::new("sink").unwrap_or_else(|_| unreachable!("a name"));
    let extensions = vec![Extension::Pipelining, Extension::Chunking, Extension::EightBitMime];
    Ehlo { domain, greeting: None, extensions }.to_reply()
}
