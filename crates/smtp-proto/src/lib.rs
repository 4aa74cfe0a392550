#![deny(unsafe_code)]
//! SMTP, submission and LMTP: syntax and framing for both sides, without I/O.
//!
//! Octets go in as they come off the wire, in any split; the same events come out. A message's body streams
//! through as slices of the input, and it ends at CRLF.CRLF and nowhere else.
//!
//! ```
//! use posthaste_smtp_proto::{Command, Config, Event, Receiver};
//!
//! let mut receiver = Receiver::new(Config::default());
//! let mut message = Vec::new();
//! let wire = b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\nHi\r\n..\r\n.\r\nQUIT\r\n";
//! for piece in wire.chunks(5) {
//!     let mut input = piece;
//!     while let Some(event) = receiver.next(&mut input) {
//!         match event {
//!             Event::Command(Command::Data) => receiver.accept_data(), // and send 354
//!             Event::Command(command) => println!("{command}"),
//!             Event::Body(text) => message.extend_from_slice(text),
//!             Event::EndOfData { violation: None } => println!("store it, send 250"),
//!             Event::Refused(error) => println!("{}", error.reply()),
//!             other => println!("{other:?}"),
//!         }
//!     }
//! }
//! assert_eq!(message, b"Hi\r\n.\r\n");
//! ```
//!
//! # The types
//!
//! A server feeds a [`Receiver`] and gets [`Event`]s: a [`Command`] (with [`ReversePath`], [`ForwardPath`],
//! [`MailParams`], [`RcptParams`]), pieces of a message, or a [`ProtocolError`] that knows its [`Reply`]. A client
//! encodes [`Command`]s, sends messages through a [`Stuffer`], and feeds a [`ReplyReceiver`]; [`Ehlo`] is what
//! the server can do, and [`Ehlo::permits`] what may be sent to it. All of them encode as well as parse. Types borrow;
//! `into_owned` ends that. Before all of this a proxy may say whom it speaks for: [`ProxyHeader`], and XCLIENT's
//! [`Attribute`]s.
//!
//! # Limits, and what it does not do
//!
//! Line lengths are in [`Config`] and [`ReplyConfig`]. How many recipients, commands, errors and octets of message a
//! session may have is the session's business: this crate holds at most one line in memory. It keeps no
//! session state (whether MAIL came before RCPT), and knows no timeouts. SASL mechanisms are in `posthaste-sasl`.
//! TURN, SEND, SOML and SAML are refused (RFC 5321 appendix F); RRVS, NO-SOLICITING and other extensions come through as
//! opaque parameters.
//!
//! # Features
//!
//! `serde`: commands, replies, EHLO's extensions and all they are made of; [`Mailbox`] and the text types as strings. A [`Secret`] is
//! written as it is.

mod address;
mod attributes;
mod class;
mod client;
mod command;
mod common;
mod cursor;
mod data;
mod ehlo;
mod error;
mod fast;
mod line;
mod offers;
mod params;
mod parse;
mod proxy;
mod receiver;
mod reply;
mod text;
mod waiting;
mod xtext;

pub use address::{
    Domain, DomainName, ForwardPath, GeneralLiteral, InvalidAddress, LocalPart, Mailbox, ReversePath,
};
pub use attributes::{Attribute, ClientProtocol, Known, Source};
pub use client::{ReplyConfig, ReplyError, ReplyReceiver};
pub use command::Command;
pub use data::{Piece, Stuffer, TextCheck, Unstuffer};
pub use ehlo::{Ehlo, Extension, Limits};
pub use error::{ProtocolError, SyntaxError, Violation};
pub use offers::NotOffered;
pub use params::{
    AuthSender, Body, ByMode, DeliverBy, Hold, InvalidTime, MailParams, MoreMailParams, Notify,
    OTHER_PARAMETERS_MAX, OriginalRecipient, Parameter, RcptParams, Ret, UtcTime,
};
pub use proxy::{ProxyAddresses, ProxyError, ProxyHeader, ProxyValue};
pub use receiver::{BadText, Config, Event, Receiver, SaslResponse};
pub use reply::{Enhanced, Reply};
pub use text::{ClientName, InvalidText, Keyword, Secret, Text, Url, Value};
pub use waiting::Waiting;
