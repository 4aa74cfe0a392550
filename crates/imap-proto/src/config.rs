use crate::Quirks;

/// What one connection may ask of the decoder and the parsers.
///
/// The defaults suit a server on the open internet: an unauthenticated peer can make it hold 16 KiB,
/// an authenticated one 256 KiB. Message bodies are never held, whatever their size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Limits until [`CommandDecoder::set_authenticated`](crate::CommandDecoder::set_authenticated).
    pub pre_auth: FrameLimits,
    /// Limits afterwards.
    pub authenticated: FrameLimits,
    /// Largest message in octets that APPEND may announce (RFC 7889 calls it APPENDLIMIT). The message is
    /// streamed, so this guards the store and not the decoder's memory.
    pub append_octets_max: u64,
    /// LITERAL- (RFC 7888 section 5) is advertised and not LITERAL+: non-synchronizing literals of more than 4096 octets
    /// are refused.
    pub literal_minus: bool,
    /// An APPEND may go on behind its message: MULTIAPPEND, CATENATE or UTF8=ACCEPT is advertised. Otherwise
    /// that is [`FrameErrorKind::AfterMessage`](crate::FrameErrorKind::AfterMessage).
    pub append_more: bool,
    /// Limits of the grammar.
    pub parse: ParseLimits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            pre_auth: FrameLimits {
                line_octets_max: 16 * 1024,
                literal_octets_max: 1024,
                command_octets_max: 16 * 1024,
            },
            authenticated: FrameLimits {
                line_octets_max: 64 * 1024,
                literal_octets_max: 64 * 1024,
                command_octets_max: 256 * 1024,
            },
            append_octets_max: 64 * 1024 * 1024,
            literal_minus: false,
            append_more: false,
            parse: ParseLimits::default(),
        }
    }
}

/// Limits on one command while it arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameLimits {
    /// Octets of a command outside its literals, CRLFs included.
    pub line_octets_max: usize,
    /// Octets of one literal that is held in memory.
    pub literal_octets_max: usize,
    /// Octets of the whole command as it is held: lines and literals together. At least `line_octets_max`.
    pub command_octets_max: usize,
}

/// Limits of the grammar, for commands and for responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseLimits {
    /// Levels of nesting: SEARCH keys, body structures, opaque lists. 100 is what Dovecot chose, and
    /// takes less than 0.5 MiB of stack even in a debug build.
    pub depth_max: u32,
    /// Elements of one list: flags, FETCH items, ranges of a set, SEARCH keys, body parts.
    pub items_max: usize,
    /// Which deviations from the grammar parse.
    pub quirks: Quirks,
}

impl Default for ParseLimits {
    fn default() -> Self {
        Self { depth_max: 100, items_max: 16 * 1024, quirks: Quirks::SERVER }
    }
}

impl ParseLimits {
    /// Limits for a client that trusts its server somewhat: a million search results, and all quirks.
    pub fn client() -> Self {
        Self { depth_max: 100, items_max: 4 * 1024 * 1024, quirks: Quirks::ALL }
    }
}
