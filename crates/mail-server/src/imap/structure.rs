//! BODY and BODYSTRUCTURE from a MIME tree.

use std::borrow::Cow;

use posthaste_imap_proto::{
    BodyExtensions, BodyPart, BodyStructure, Disposition, MultiPart, Params, PartExtension, PartKind,
    RawEnvelope, RawExtension,
};

use super::header::{self, Valued};
use super::mime::{Entity, Kind};

/// The structure; with extension data for BODYSTRUCTURE.
pub(super) fn structure(message: &[u8], entity: &Entity, extended: bool) -> BodyStructure<'static> {
    let header = &message[entity.header.clone()];
    let (media, subtype) = entity.content_type.value.split_once('/').unwrap_or(("text", "plain"));
    let (media, subtype) = (own(media.as_bytes()), own(subtype.as_bytes()));
    let params = params(&entity.content_type);
    let extension = extended.then(|| extension(header));
    if let Kind::Multi(parts) = &entity.kind {
        let extension = extension.as_ref().map(|e| (params.clone(), RawExtension::of_multipart(e)));
        let multi = MultiPart { subtype: subtype.clone(), extension };
        let parts = parts.iter().map(|part| structure(message, part, extended));
        if let Some(multi) = BodyStructure::multi(multi, parts) {
            return multi;
        }
    }
    let body = &message[entity.body.clone()];
    let lines = || memchr::memchr_iter(b'\n', body).count() as u64;
    let part = BodyPart {
        params,
        id: text(header, "Content-ID"),
        description: text(header, "Content-Description"),
        encoding: encoding(header),
        octets: body.len() as u64,
        kind: if *media == *b"text" { PartKind::Text { lines: lines() } } else { PartKind::Basic },
        extension: extension.as_ref().map(RawExtension::from),
        media,
        subtype,
    };
    match &entity.kind {
        Kind::Message(inner) => {
            let envelope = RawEnvelope::from(&header::envelope(&message[inner.header.clone()]));
            BodyStructure::message(part, envelope, lines(), structure(message, inner, extended))
        }
        _ => BodyStructure::single(part),
    }
}

fn own(bytes: &[u8]) -> Cow<'static, [u8]> {
    Cow::Owned(bytes.to_vec())
}

fn text(header: &[u8], name: &str) -> Option<Cow<'static, [u8]>> {
    header::value(header, name).map(|v| Cow::Owned(v.into_owned()))
}

fn encoding(header: &[u8]) -> Cow<'static, [u8]> {
    let told = header::value(header, "Content-Transfer-Encoding").map(|v| Valued::parse(&v).value);
    own(told.filter(|e| !e.is_empty()).unwrap_or_else(|| "7bit".into()).as_bytes())
}

fn params(value: &Valued) -> Params<'static> {
    value.params.iter().map(|(name, value)| (own(name), own(value))).collect()
}

fn extension(header: &[u8]) -> PartExtension<'static> {
    let disposition = header::value(header, "Content-Disposition").map(|v| Valued::parse(&v));
    let language = header::value(header, "Content-Language").unwrap_or_default();
    PartExtension {
        md5: text(header, "Content-MD5"),
        disposition: disposition
            .filter(|d| !d.value.is_empty())
            .map(|d| Disposition { kind: own(d.value.as_bytes()), params: params(&d) }),
        language: language
            .split(|b| *b == b',')
            .map(<[u8]>::trim_ascii)
            .filter(|l| !l.is_empty())
            .map(own)
            .collect(),
        location: text(header, "Content-Location"),
        more: BodyExtensions::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use posthaste_imap_proto::{Data, FetchWriter, ParseLimits, Response};

    const MESSAGE: &[u8] = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhi\r\nyou\r\n--b\r\n\
        Content-Type: application/pdf; name=\"a.pdf\"\r\nContent-Transfer-Encoding: BASE64\r\nContent-ID: <1>\r\n\
        Content-Disposition: attachment; filename=\"a.pdf\"\r\nContent-Language: en, de\r\n\r\nAAAA\r\n--b\r\n\
        Content-Type: message/rfc822\r\n\r\nSubject: s\r\nFrom: x@y\r\n\r\nbody\r\n--b--\r\n";

    #[test]
    fn body_structure_is_told_as_rfc_3501_wants_it() {
        let tree = Entity::parse(MESSAGE);
        let mut out = Vec::new();
        let mut fetch = FetchWriter::new(&mut out, 1);
        fetch.structure("BODY", &structure(MESSAGE, &tree, false));
        fetch.structure("BODYSTRUCTURE", &structure(MESSAGE, &tree, true));
        fetch.end();
        let from = "((NIL NIL \"x\" \"y\"))";
        let inner = format!("(NIL \"s\" {from} {from} {from} NIL NIL NIL NIL NIL)");
        let plain = "\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\"";
        let want = format!(
            "* 1 FETCH (BODY (({plain} 7 1)(\"application\" \"pdf\" (\"name\" \"a.pdf\") \"<1>\" NIL \"base64\" 4)\
             (\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 29 {inner} ({plain} 4 0) 3) \"mixed\") \
             BODYSTRUCTURE (({plain} 7 1 NIL NIL NIL NIL)(\"application\" \"pdf\" (\"name\" \"a.pdf\") \"<1>\" NIL \"base64\" 4 \
             NIL (\"attachment\" (\"filename\" \"a.pdf\")) (\"en\" \"de\") NIL)(\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 29 {inner} \
             ({plain} 4 0 NIL NIL NIL NIL) 3 NIL NIL NIL NIL) \"mixed\" (\"boundary\" \"b\") NIL NIL NIL))\r\n"
        );
        assert_eq!(String::from_utf8_lossy(&out), want);
        let parsed = Response::parse(&out[..out.len() - 2], &ParseLimits::client()).unwrap();
        assert!(matches!(parsed, Response::Data(Data::Fetch { .. })));
    }
}
