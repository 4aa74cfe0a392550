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
//!   them. The messages of APPEND and REPLACE come in chunks ([`AppendStart`]).
//! - [`ResponseDecoder`] turns a server's octets into [`ResponseEvent`]s; a [`RawResponse`] parses into a [`Response`]. Large
//!   literals come in chunks.
//! - Lists ([`Flags`], [`FetchItemList`], [`SearchKeys`], [`Addresses`] ...) stay as the peer wrote them: checked when the message is
//!   parsed, decoded as they are read, made from values by `collect()`. So a command allocates nothing. [`Subkey::get`],
//!   [`RawEnvelope::parse`] and [`RawExtension::parse`] do the same for single values. Everything has `into_owned`.
//! - [`Command::encode`] and [`Response::encode`] go the other way; [`FetchWriter`] and [`encode_search`] spare a server building a
//!   `Response` for what it sends most.
//! - [`SequenceSet`] is a set as written, [`IdSet`] an ordered one to compute with. [`utf7`] and [`base64`] are what they say.
//!   [`Mailbox`] names are modified UTF-7 or UTF-8.
//! - What no RFC known here defines comes through: capabilities as [`Atom`]s, and as [`Opaque`] values response codes
//!   ([`Code::Other`]), FETCH items, STATUS items, parameters of commands, extended data; untagged data as [`Data::Other`].
//!
//! # Driving a decoder
//! Call `decode(&mut input)` until it answers `NeedMore`; it advances `input` over what it used. Act on each event before the next
//! call: on `Continue` send `+ OK`; on `Append` call [`CommandDecoder::accept_message`] or
//! [`CommandDecoder::refuse_message`]; after AUTHENTICATE or IDLE call [`CommandDecoder::expect_line`]; after STARTTLS call
//! [`CommandDecoder::discard_plaintext`].
//!
//! # What it speaks
//! IMAP4rev1 (RFC 3501) and IMAP4rev2 (9051), both directions, typed, with ACL (4314), ANNOTATE (5257), APPENDLIMIT (7889), BINARY (3516), CATENATE
//! (4469), CHILDREN (3348), COMPRESS (4978), CONVERT (5259), CONDSTORE and QRESYNC (7162), CONTEXT (5267), CREATE-SPECIAL-USE and SPECIAL-USE (6154), ENABLE (5161),
//! ESEARCH (4731), ESORT (5267), FILTERS (5466), FUZZY (6203), ID (2971), IDLE (2177), INPROGRESS (9585), JMAPACCESS (9698), LANGUAGE and COMPARATOR (5255), LIST-EXTENDED (5258), LIST-METADATA (9590),
//! LIST-MYRIGHTS (8440), LIST-STATUS (5819), LITERAL+ and LITERAL- (7888), LOGIN-REFERRALS (2221), MAILBOX-REFERRALS (2193), MESSAGELIMIT (9738), METADATA (5464), MOVE (6851),
//! MULTIAPPEND (3502), MULTISEARCH (7377), NAMESPACE (2342), NOTIFY (5465), OBJECTID (8474), PARTIAL (9394), PREVIEW (8970),
//! QUOTA (9208), REPLACE (8508), SASL-IR (4959), SAVEDATE (8514), SEARCHRES (5182), SORT (5256, 5957), STATUS=SIZE (8438), THREAD
//! (5256), UIDBATCHES (10022), UIDONLY (9586), UIDPLUS (4315), UNAUTHENTICATE (8437), UNSELECT (3691), URLAUTH and URLAUTH=BINARY (4467, 5524), UTF8=ACCEPT (9755), WITHIN (5032), and Gmail's X-GM-EXT-1. What real peers are known
//! to get wrong parses by switches with names: [`Quirks`].
//!
//! # Limits
//! [`Config`] and [`ResponseConfig`] hold them all. A command that breaks one is skipped to its very end, its non-synchronizing literals
//! included, so that nothing of it is taken for another command. Parsing is linear; reading a value nested to depth d scans it d
//! times at most, and [`ParseLimits::depth_max`] bounds d.
//!
//! # What it does not do
//! It keeps no session state: which command is allowed when, and what was advertised, is the caller's business; a server must refuse
//! the syntax of extensions that it does not have. Annotations of messages, conversions and Gmail's labels come through as opaque values.
//!
//! # Features
//! `serde`: `Serialize` and `Deserialize` for every value. A value made by `Deserialize` is checked as one that was parsed.

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
mod keyword;
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
    AclChange, AnnotationKey, AppendData, AppendHead, AppendMessage, CatenatePart, Command, CommandBody,
    CreateParam, CreateParams, EncodedCommand, EntryKind, FetchItem, FetchItemList, FetchItems,
    FetchModifier, FetchModifiers, GetMetadata, IdField, List, ListReturn, ListReturns, ListSelection,
    ListSelections, LiteralKind, MailboxFilter, MailboxFilters, MetadataDepth, MetadataEntries,
    MetadataEntry, ModSeqEntry, MultiSearch, Notify, NotifyEvent, NotifyEvents, NotifyGroup, PartPath,
    Partial, PartialRange, Pattern, Patterns, QuotaLimit, QuotaLimits, SearchKey, SearchKeys, SearchReturn,
    SearchReturns, Section, SectionText, SelectParam, SelectParams, SortCriteria, SortCriterion, SortKey,
    StoreAction, Subkey, UrlItem, UrlRequest, UrlRequests,
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
    AclEntry, Address, Addresses, BodyExtension, BodyExtensions, BodyNode, BodyPart, BodyStructure, Code,
    Correlator, Data, Disposition, Envelope, Esearch, FetchData, FetchWriter, ListEntry, ListExtended,
    MultiPart, Namespace, Params, Part, PartExtension, PartKind, Progress, QuotaResource, RawEnvelope,
    RawExtension, Response, SearchResult, Status, StatusKind, Thread, UrlContent, UrlData, UrlMetadata,
    encode_search,
};
pub use response_decoder::{RawResponse, ResponseConfig, ResponseDecoder, ResponseEvent};
pub use sequence::{NotASet, SeqNum, SeqRange, SequenceSet};
pub use status::{StatusData, StatusDataList, StatusItem, StatusItems, StatusValue};
pub use text::{Atom, Capabilities, Mailbox, Mailboxes, Opaque, Secret, Strings, Tag};
pub use write::Literals;
