//! Deviations from the grammar that real peers are known for.

/// Which known deviations parse. Each was reported against a real server or client; what follows a switch's meaning is
/// where. All of them are unambiguous: nothing that is valid by the RFCs changes its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quirks {
    /// Spaces at the end of CAPABILITY, SEARCH, STATUS, ID, a list or a line (imap-codec `quirk_trailing_space_*`,
    /// async-imap #131, bichon #197).
    pub trailing_space: bool,
    /// A space between two addresses of an envelope (imap-codec `quirk_spaces_between_addresses`).
    pub spaces_between_addresses: bool,
    /// `()` for no addresses, where NIL is due (rust-imap #166).
    pub empty_address_list: bool,
    /// NIL for a body's transfer encoding; read as `7BIT` (imap-codec `quirk_body_fld_enc_nil_to_empty`).
    pub nil_encoding: bool,
    /// NIL for a body parameter's value; read as empty (imap-codec `quirk_body_fld_param_value_nil`, vmime #159).
    pub nil_param_value: bool,
    /// NIL for a body's media type or subtype; read as empty.
    pub nil_media: bool,
    /// A status response that ends behind its word or code, without text (Gmail: imap-codec `quirk_missing_text`,
    /// modern-email/defects #28).
    pub missing_text: bool,
    /// `+` alone as a continuation request (imap-codec `quirk_empty_continue_req`).
    pub empty_continue: bool,
    /// Octets above 127 in a quoted string without UTF8=ACCEPT (Proton: modern-email/defects #38; most clients' passwords).
    /// IMAP4rev2 and RFC 9755 make UTF-8 legal there: switch it on with either.
    pub raw_8bit: bool,
    /// `"` within a quoted string without its backslash: only one before a space, a parenthesis, a bracket or the line's end
    /// closes the string (tokio-imap #171).
    pub unescaped_quotes: bool,
    /// Negative sizes, such as `-1` for unknown; read as 0 (imap-codec `quirk_rectify_numbers`).
    pub negative_numbers: bool,
    /// More than one space between the resources of a QUOTA response (imap-codec `quirk_excessive_space_quota_resource`).
    pub quota_spaces: bool,
    /// A day of one digit without its leading space in INTERNALDATE.
    pub one_digit_day: bool,
    /// `]` in flags and keywords, which no atom may hold.
    pub loose_keywords: bool,
}

impl Quirks {
    /// The RFCs to the letter.
    pub const NONE: Quirks = Quirks {
        trailing_space: false,
        spaces_between_addresses: false,
        empty_address_list: false,
        nil_encoding: false,
        nil_param_value: false,
        nil_media: false,
        missing_text: false,
        empty_continue: false,
        raw_8bit: false,
        unescaped_quotes: false,
        negative_numbers: false,
        quota_spaces: false,
        one_digit_day: false,
        loose_keywords: false,
    };

    /// Everything: what a client needs.
    pub const ALL: Quirks = Quirks {
        trailing_space: true,
        spaces_between_addresses: true,
        empty_address_list: true,
        nil_encoding: true,
        nil_param_value: true,
        nil_media: true,
        missing_text: true,
        empty_continue: true,
        raw_8bit: true,
        unescaped_quotes: true,
        negative_numbers: true,
        quota_spaces: true,
        one_digit_day: true,
        loose_keywords: true,
    };

    /// What a server needs: clients send passwords and mailbox names in raw 8 bit, and days of one digit.
    pub const SERVER: Quirks = Quirks { raw_8bit: true, one_digit_day: true, ..Quirks::NONE };
}
