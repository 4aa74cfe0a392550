//! What kind of message a value is, and what kind the octets say.

use posthaste_imap_proto::*;

/// The command's name as this value has it.
pub(super) fn of_command(body: &CommandBody<'_>) -> String {
    use CommandBody as C;
    let by_uid = |uid: &bool, name| if *uid { format!("UID {name}") } else { String::from(name) };
    let name = match body {
        C::Search { uid, .. } => return by_uid(uid, "SEARCH"),
        C::Sort { uid, .. } => return by_uid(uid, "SORT"),
        C::Thread { uid, .. } => return by_uid(uid, "THREAD"),
        C::Fetch { uid, .. } => return by_uid(uid, "FETCH"),
        C::Store { uid, .. } | C::StoreAnnotation { uid, .. } | C::StoreLabels { uid, .. } => {
            return by_uid(uid, "STORE");
        }
        C::Copy { uid, .. } => return by_uid(uid, "COPY"),
        C::Move { uid, .. } => return by_uid(uid, "MOVE"),
        C::Replace { uid, .. } => return by_uid(uid, "REPLACE"),
        C::Convert { uid, .. } => return by_uid(uid, "CONVERT"),
        C::Capability => "CAPABILITY",
        C::Noop => "NOOP",
        C::Logout => "LOGOUT",
        C::StartTls => "STARTTLS",
        C::Authenticate { .. } => "AUTHENTICATE",
        C::Login { .. } => "LOGIN",
        C::Unauthenticate => "UNAUTHENTICATE",
        C::Enable(_) => "ENABLE",
        C::Id(_) => "ID",
        C::Compress(_) => "COMPRESS",
        C::Select { .. } => "SELECT",
        C::Examine { .. } => "EXAMINE",
        C::Create { .. } => "CREATE",
        C::Delete(_) => "DELETE",
        C::Rename { .. } => "RENAME",
        C::Subscribe(_) => "SUBSCRIBE",
        C::Unsubscribe(_) => "UNSUBSCRIBE",
        C::List(_) => "LIST",
        C::Lsub { .. } => "LSUB",
        C::Rlist { .. } => "RLIST",
        C::Rlsub { .. } => "RLSUB",
        C::Status { .. } => "STATUS",
        C::Namespace => "NAMESPACE",
        C::Append { .. } => "APPEND",
        C::Idle => "IDLE",
        C::Notify(_) => "NOTIFY",
        C::Check => "CHECK",
        C::Close => "CLOSE",
        C::Unselect => "UNSELECT",
        C::Expunge => "EXPUNGE",
        C::UidExpunge(_) => "UID EXPUNGE",
        C::MultiSearch(_) => "ESEARCH",
        C::CancelUpdate(_) => "CANCELUPDATE",
        other => of_administration(other),
    };
    name.to_owned()
}

fn of_administration(body: &CommandBody<'_>) -> &'static str {
    use CommandBody as C;
    match body {
        C::UidBatches { .. } => "UIDBATCHES",
        C::GetQuota(_) => "GETQUOTA",
        C::GetQuotaRoot(_) => "GETQUOTAROOT",
        C::SetQuota { .. } => "SETQUOTA",
        C::SetAcl { .. } => "SETACL",
        C::DeleteAcl { .. } => "DELETEACL",
        C::GetAcl(_) => "GETACL",
        C::ListRights { .. } => "LISTRIGHTS",
        C::MyRights(_) => "MYRIGHTS",
        C::GetMetadata(_) => "GETMETADATA",
        C::SetMetadata { .. } => "SETMETADATA",
        C::GenUrlAuth(_) => "GENURLAUTH",
        C::ResetKey(_) => "RESETKEY",
        C::UrlFetch(_) => "URLFETCH",
        C::Language(_) => "LANGUAGE",
        C::Comparator(_) => "COMPARATOR",
        C::Conversions { .. } => "CONVERSIONS",
        C::GetJmapAccess => "GETJMAPACCESS",
        other => panic!("a command without a name here: {other:?}"),
    }
}

/// The command's name as it stands behind the tag.
pub(super) fn in_command(octets: &[u8]) -> String {
    let text = String::from_utf8_lossy(octets).to_ascii_uppercase();
    let mut words = text.split_ascii_whitespace().skip(1);
    match words.next() {
        Some("UID") => format!("UID {}", words.next().unwrap_or_default()),
        word => word.unwrap_or_default().to_owned(),
    }
}

/// The response's name as this value has it: and whether it has a code.
pub(super) fn of_response(response: &Response<'_>) -> String {
    match response {
        Response::Continue(_) => "+".to_owned(),
        Response::Tagged { status, .. } | Response::Status(status) => of_status(status),
        // Nothing but its name is known.
        Response::Data(Data::Other(raw)) => in_response(&[b"* ", &raw[..]].concat()),
        Response::Data(data) => of_data(data).to_owned(),
    }
}

fn of_status(status: &Status<'_>) -> String {
    let kind = match status.kind {
        StatusKind::Ok => "OK",
        StatusKind::No => "NO",
        StatusKind::Bad => "BAD",
        StatusKind::PreAuth => "PREAUTH",
        StatusKind::Bye => "BYE",
    };
    match &status.code {
        Some(_) => format!("{kind} with a code"),
        None => kind.to_owned(),
    }
}

fn of_data(data: &Data<'_>) -> &'static str {
    match data {
        Data::Capability(_) => "CAPABILITY",
        Data::Enabled(_) => "ENABLED",
        Data::List(_) => "LIST",
        Data::Lsub(_) => "LSUB",
        Data::Status { .. } => "STATUS",
        Data::Search { .. } => "SEARCH",
        Data::Sort { .. } => "SORT",
        Data::Thread(_) => "THREAD",
        Data::Esearch(_) => "ESEARCH",
        Data::Flags(_) => "FLAGS",
        Data::Exists(_) => "EXISTS",
        Data::Recent(_) => "RECENT",
        Data::Expunge(_) => "EXPUNGE",
        Data::Vanished { .. } => "VANISHED",
        Data::Fetch { .. } => "FETCH",
        Data::UidFetch { .. } => "UIDFETCH",
        Data::Namespace(_) => "NAMESPACE",
        Data::Id(_) => "ID",
        Data::Quota { .. } => "QUOTA",
        Data::QuotaRoot { .. } => "QUOTAROOT",
        Data::Acl { .. } => "ACL",
        Data::ListRights { .. } => "LISTRIGHTS",
        Data::MyRights { .. } => "MYRIGHTS",
        Data::Metadata { .. } | Data::MetadataChanged { .. } => "METADATA",
        Data::UidBatches { .. } => "UIDBATCHES",
        Data::GenUrlAuth(_) => "GENURLAUTH",
        Data::UrlFetch(_) => "URLFETCH",
        Data::Language(_) => "LANGUAGE",
        Data::Comparator { .. } => "COMPARATOR",
        Data::Conversion { .. } => "CONVERSION",
        Data::JmapAccess(_) => "JMAPACCESS",
        other => panic!("data without a name here: {other:?}"),
    }
}

/// The response's name as it stands in its octets.
pub(super) fn in_response(octets: &[u8]) -> String {
    let text = String::from_utf8_lossy(octets);
    let Some(rest) = text.strip_prefix("* ") else {
        return if text.starts_with('+') { "+".to_owned() } else { in_status(&text) };
    };
    let mut words = rest.split_ascii_whitespace();
    let word = words.next().unwrap_or_default().to_ascii_uppercase();
    match word.as_str() {
        "OK" | "NO" | "BAD" | "BYE" | "PREAUTH" => in_status(&text),
        number if number.starts_with(|c: char| c.is_ascii_digit()) => {
            words.next().unwrap_or_default().to_ascii_uppercase()
        }
        _ => word,
    }
}

fn in_status(text: &str) -> String {
    let mut words = text.split_ascii_whitespace().skip(1);
    let kind = words.next().unwrap_or_default().to_ascii_uppercase();
    let code = words.next().is_some_and(|word| word.starts_with('['));
    if code { format!("{kind} with a code") } else { kind }
}
