//! The sink of `smtp_sink.rs` on tokio: only `main` and `serve` differ, since the protocol knows no sockets.
//!
//! `cargo run -p posthaste-smtp-proto --example smtp_sink_tokio [-- 127.0.0.1:2525]`

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use posthaste_smtp_proto::{
    ClientName, Command, Config, Ehlo, Event, Extension, ForwardPath, Receiver, Reply, SyntaxError,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:2525".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("sinking mail on {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            match serve(stream).await {
                Ok(octets) => println!("session over, {octets} octets of mail"),
                Err(error) => println!("session lost: {error}"),
            }
        });
    }
}

async fn serve(mut stream: TcpStream) -> std::io::Result<u64> {
    let mut receiver = Receiver::new(Config::default());
    let mut session = Session::default();
    let mut out = Vec::new();
    Reply::plain(220, "sink ESMTP").encode(&mut out);
    let mut buffer = vec![0; 16 * 1024];
    while !session.over {
        stream.write_all(&out).await?;
        out.clear();
        let len = stream.read(&mut buffer).await?;
        if len == 0 {
            break;
        }
        let mut input = &buffer[..len];
        while let Some(event) = receiver.next(&mut input) {
            let data = matches!(event, Event::Command(Command::Data));
            let accepted = session.answer(event, &mut out);
            if data && accepted {
                receiver.accept_data();
            }
        }
    }
    stream.write_all(&out).await?;
    Ok(session.octets)
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
