#![forbid(unsafe_code)]
//! POP3: syntax and framing for both sides, without I/O.
//!
//! Octets go in as they come off the wire, in any split; the same events come out. Messages stream through as
//! slices of the input.
//!
//! ```
//! use posthaste_pop3_proto::{ClientConfig, ClientEvent, Command, MessageNumber, ResponseReceiver, Shape};
//!
//! let mut receiver = ResponseReceiver::new(ClientConfig::default());
//! let mut wire = Vec::new();
//! Command::Retr(MessageNumber::MIN).encode(&mut wire); // send this
//! receiver.expect(Shape::Message);
//!
//! let mut message = Vec::new();
//! let mut input = b"+OK ready\r\n+OK 8 octets\r\nHi\r\n..\r\n.\r\n".as_slice();
//! while let Some(event) = receiver.next(&mut input) {
//!     match event? {
//!         ClientEvent::Status(reply) => assert!(reply.is_ok()),
//!         ClientEvent::Text(text) => message.extend_from_slice(text),
//!         other => println!("{other:?}"),
//!     }
//! }
//! assert_eq!(message, b"Hi\r\n.\r\n");
//! # Ok::<(), posthaste_pop3_proto::ResponseError>(())
//! ```
//!
//! # The types
//!
//! A server feeds a [`Receiver`] and gets [`Event`]s: a [`Command`], a SASL line, or a [`ProtocolError`] that knows
//! its [`Reply`]; it sends messages through a [`Stuffer`]. A client encodes [`Command`]s, says what [`Shape`] of
//! response it expects, and feeds a [`ResponseReceiver`]; [`Stat`], [`ListEntry`], [`UidlEntry`], [`Capability`] and [`LangEntry`]
//! are what stands in listings. All of them encode as well as parse. Types borrow; `into_owned` ends that.
//!
//! # Limits, and what it does not do
//!
//! Line lengths are in [`Config`] and [`ClientConfig`]; at most one line is held in memory. What real peers do otherwise than
//! the RFCs say is taken as far as [`Quirks`] say, each by its name. It keeps no session
//! state (who is logged in, what is marked deleted), and knows no timeouts. SASL mechanisms are in `posthaste-sasl`.
//!
//! # Features
//!
//! `serde`: commands, replies and listings; the text types as strings. A [`Secret`] is written as it is.

mod attributes;
mod capability;
mod client;
mod command;
mod data;
mod error;
mod line;
mod parse;
mod quirks;
mod receiver;
mod reply;
mod text;
mod top;

pub use attributes::{ATTRIBUTES_MAX, Attribute, SESSION_MAX};
pub use capability::{Capability, Expire, LangEntry};
pub use client::{ClientConfig, ClientEvent, ResponseError, ResponseReceiver, Shape};
pub use command::{Command, MessageNumber};
pub use data::{Piece, Stuffer, Unstuffer};
pub use error::{ProtocolError, SyntaxError};
pub use quirks::Quirks;
pub use receiver::{Config, Event, Receiver, SaslResponse};
pub use reply::{ListEntry, Reply, ResponseCode, Stat, UidlEntry};
pub use text::{InvalidText, Secret, Text, UniqueId, Word};
pub use top::{TopCut, top};
