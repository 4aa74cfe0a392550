#![forbid(unsafe_code)]
//! IMAP as octets and types, both directions, without I/O: whatever way the input is cut the same events come out,
//! and no input costs more memory than [`Config`] says, more than linear time, or a panic.
//!
//! ```
//! use posthaste_imap_proto::*;
//!
//! let mut decoder = CommandDecoder::new(Config::default());
//! let mut input: &[u8] = b"a1 LOGIN alice {6+}\r\nsecret\r\n";
//! let limits = ParseLimits::default();
//! let Event::Command(raw) = decoder.decode(&mut input) else { panic!() };
//! let command = raw.parse(&limits)?;
//! assert!(matches!(command.body, CommandBody::Login { .. }));
//! assert!(!format!("{command:?}").contains("secret"));
//!
//! let done = Response::Tagged { tag: command.tag, status: Status::new(StatusKind::Ok, "welcome") };
//! let mut out = Vec::new();
//! done.encode(&mut out);
//! assert_eq!(out, b"a1 OK welcome\r\n");
//! assert_eq!(Response::parse(b"a1 OK welcome", &limits)?, done);
//! # Ok::<(), ParseError>(())
//! ```
//!
//! # Types
//! - [`CommandDecoder`] turns a client's octets into [`Event`]s; a [`RawCommand`] parses into a [`Command`] that borrows from
//!   them. The message of an APPEND comes in chunks ([`AppendStart`]).
//! - [`ResponseDecoder`] turns a server's octets into [`ResponseEvent`]s; a [`RawResponse`] parses into a [`Response`]. Large
//!   literals come in chunks.
//! - [`Command::encode`] and [`Response::encode`] go the other way; [`FetchWriter`] and [`encode_search`] spare a server building a
//!   `Response` for what it sends most.
//! - [`SequenceSet`] is a set as written, [`IdSet`] an ordered one to compute with. [`utf7`] and [`base64`] are what they say.
//!
//! # Driving a decoder
//! Call `decode(&mut input)` until it answers `NeedMore`; it advances `input` over what it used. Act on each event before the next
//! call: on `Continue` send `+ OK`; on `Append` call [`CommandDecoder::accept_message`] or
//! [`CommandDecoder::refuse_message`]; after AUTHENTICATE or IDLE call [`CommandDecoder::expect_line`]; after STARTTLS call
//! [`CommandDecoder::discard_plaintext`].
//!
//! # Limits
//! [`Config`] and [`ResponseConfig`] hold them all. A command that breaks one is skipped to its very end, its non-synchronizing literals
//! included, so that nothing of it is taken for another command.
//!
//! # What it does not do
//! RFC 3501 with UIDPLUS, IDLE, LITERAL+, SASL-IR, NAMESPACE, ID, UNSELECT and CHILDREN is what it knows; of further extensions, it
//! passes response codes, FETCH items and untagged data through as opaque values, and refuses commands. A MULTIAPPEND is refused after
//! its first message. It keeps no session state: which command is allowed when is the server's business.

pub mod base64;
mod chars;
mod command;
mod command_decoder;
mod config;
mod datetime;
mod error;
mod few;
mod flag;
mod frame;
mod idset;
mod lex;
mod list;
mod own;
mod payload;
mod quirks;
mod response;
mod response_decoder;
mod sequence;
mod status;
mod text;
pub mod utf7;
mod write;

pub use command::{
    AclChange, AppendData, AppendHead, AppendMessage, CatenatePart, Command, CommandBody, CreateParam,
    CreateParams, EncodedCommand, EntryKind, FetchItem, FetchItemList, FetchItems, FetchModifier,
    FetchModifiers, GetMetadata, IdField, List, ListReturn, ListReturns, ListSelection, ListSelections,
    LiteralKind, MailboxFilter, MailboxFilters, MetadataDepth, MetadataEntries, MetadataEntry, ModSeqEntry,
    MultiSearch, Notify, NotifyEvent, NotifyEvents, NotifyGroup, PartPath, Partial, PartialRange, Pattern,
    Patterns, QuotaLimit, QuotaLimits, SearchKey, SearchKeys, SearchReturn, SearchReturns, Section,
    SectionText, SelectParam, SelectParams, SortCriteria, SortCriterion, SortKey, StoreAction, Subkey,
};
pub use command_decoder::{AppendStart, CommandDecoder, Event, RawCommand, RawLine};
pub use config::{Config, FrameLimits, ParseLimits};
pub use datetime::{Date, DateTime};
pub use error::{FrameError, FrameErrorKind, ParseError, ParseErrorKind, ResponseFrameError};
pub use few::Few;
pub use flag::{Flag, Flags};
pub use frame::LiteralSpec;
pub use idset::IdSet;
pub use list::ListIter;
pub use payload::Payload;
pub use quirks::Quirks;
pub use response::{
    Address, Addresses, BodyExtension, BodyExtensions, BodyNode, BodyPart, BodyStructure, Code, Data,
    Disposition, Envelope, Esearch, FetchData, FetchWriter, ListEntry, ListExtended, MultiPart, Namespace,
    Params, Part, PartExtension, PartKind, Progress, QuotaResource, RawEnvelope, RawExtension, Response,
    SearchResult, Status, StatusKind, Thread, encode_search,
};
pub use response_decoder::{RawResponse, ResponseConfig, ResponseDecoder, ResponseEvent};
pub use sequence::{NotASet, SeqNum, SeqRange, SequenceSet};
pub use status::{StatusData, StatusDataList, StatusItem, StatusItems, StatusValue};
pub use text::{Atom, Capabilities, Mailbox, Mailboxes, Opaque, Secret, Strings, Tag};
pub use write::Literals;
