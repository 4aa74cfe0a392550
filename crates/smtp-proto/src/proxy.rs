//! The header of the PROXY protocol, versions 1 and 2, in front of a connection (HAProxy's `proxy-protocol.txt`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nom::bytes::complete::take;
use nom::combinator::{eof, map};
use nom::multi::many0;
use nom::number::complete::{be_u8, be_u16, be_u32, be_u128};
use nom::{IResult, Parser};

const V1: &[u8] = b"PROXY ";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Longest header of version 1, CRLF included (§2.1).
const V1_MAX: usize = 107;
/// Signature, command, family and length of version 2.
const V2_FIXED: usize = 16;

/// What stands behind the signature is no PROXY header. Close the connection: who may speak PROXY to us is
/// configured, so this is no client's fault, and nothing it says can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// The connection does not begin with a header.
    #[error("no PROXY header")]
    Missing,
    /// It begins like one, and is none.
    #[error("malformed PROXY header")]
    Malformed,
    /// A header longer than the limit.
    #[error("PROXY header of more than {limit} octets")]
    TooLong {
        /// The limit given to [`ProxyHeader::parse`]; for version 1 the protocol's.
        limit: usize,
    },
}

/// Whom a connection is between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum ProxyAddresses {
    /// The proxy's own connection, such as a health check, or one that it knows nothing of: use the socket's
    /// addresses.
    Unknown,
    /// A client behind the proxy.
    Stream {
        /// The client.
        source: SocketAddr,
        /// Whom it connected to.
        destination: SocketAddr,
    },
}

/// A value of version 2, as it stands there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ProxyValue {
    /// `PP2_TYPE_`…
    pub kind: u8,
    /// Its octets.
    pub value: Vec<u8>,
}

/// A whole header.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ProxyHeader {
    /// Who speaks to whom.
    pub addresses: ProxyAddresses,
    /// Further values (version 2 only).
    pub values: Vec<ProxyValue>,
}

impl ProxyHeader {
    /// Reads the header at the start of `input`, and says how many octets it has; `None` as long as more are
    /// needed. Version 2 is refused from `limit` octets up; 536 is enough for addresses and TLS's values.
    pub fn parse(input: &[u8], limit: usize) -> Result<Option<(Self, usize)>, ProxyError> {
        if begins(input, V1) {
            return if input.len() < V1.len() { Ok(None) } else { v1(input) };
        }
        if begins(input, V2) {
            return v2(input, limit);
        }
        Err(ProxyError::Missing)
    }

    /// Appends the header in version 1, which has no values.
    pub fn encode_v1(&self, out: &mut Vec<u8>) {
        let text = match self.addresses {
            ProxyAddresses::Stream { source, destination } if source.is_ipv4() == destination.is_ipv4() => {
                let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
                let (from, to) = (source.ip(), destination.ip());
                format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port())
            }
            _ => "PROXY UNKNOWN\r\n".to_owned(),
        };
        out.extend(text.into_bytes());
    }

    /// Appends the header in version 2. Values that do not fit its 65,535 octets are left out.
    pub fn encode_v2(&self, out: &mut Vec<u8>) {
        let mut body = Vec::new();
        let (command, family) = match self.addresses {
            ProxyAddresses::Stream { source, destination } => {
                (0x21, put_addresses(&mut body, source, destination))
            }
            ProxyAddresses::Unknown => (0x20, 0),
        };
        for ProxyValue { kind, value } in &self.values {
            let room = usize::from(u16::MAX) - body.len();
            if let (true, Ok(len)) = (value.len() + 3 <= room, u16::try_from(value.len())) {
                body.push(*kind);
                body.extend(len.to_be_bytes());
                body.extend(value);
            }
        }
        let len = u16::try_from(body.len()).unwrap_or(u16::MAX);
        out.extend(V2);
        out.extend([command, family]);
        out.extend(len.to_be_bytes());
        out.extend(body);
    }
}

/// Whether `input` is as much of `signature` as it has octets.
fn begins(input: &[u8], signature: &[u8]) -> bool {
    let len = input.len().min(signature.len());
    input[..len] == signature[..len]
}

fn v1(input: &[u8]) -> Result<Option<(ProxyHeader, usize)>, ProxyError> {
    let window = &input[..input.len().min(V1_MAX)];
    let Some(end) = memchr::memchr(b'\n', window) else {
        return if window.len() == V1_MAX { Err(ProxyError::TooLong { limit: V1_MAX }) } else { Ok(None) };
    };
    let line = window[..end].strip_suffix(b"\r").ok_or(ProxyError::Malformed)?;
    let line = std::str::from_utf8(line).map_err(|_| ProxyError::Malformed)?;
    let addresses = v1_addresses(line).ok_or(ProxyError::Malformed)?;
    Ok(Some((ProxyHeader { addresses, values: Vec::new() }, end + 1)))
}

fn v1_addresses(line: &str) -> Option<ProxyAddresses> {
    let mut words = line.split(' ').skip(1);
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(ProxyAddresses::Unknown);
    }
    let (source, destination): (IpAddr, IpAddr) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let (from, to) = (v1_port(words.next()?)?, v1_port(words.next()?)?);
    let fits = match family {
        "TCP4" => source.is_ipv4() && destination.is_ipv4(),
        "TCP6" => source.is_ipv6() && destination.is_ipv6(),
        _ => false,
    };
    let whole = fits && words.next().is_none();
    whole.then(|| ProxyAddresses::Stream {
        source: SocketAddr::new(source, from),
        destination: SocketAddr::new(destination, to),
    })
}

/// Digits without a leading zero.
fn v1_port(text: &str) -> Option<u16> {
    let canonical = text == "0" || !text.starts_with(['0', '+']);
    text.parse().ok().filter(|_| canonical)
}

fn v2(input: &[u8], limit: usize) -> Result<Option<(ProxyHeader, usize)>, ProxyError> {
    let Some(fixed) = input.get(V2.len()..V2_FIXED) else { return Ok(None) };
    let len = V2_FIXED + usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    if len > limit {
        return Err(ProxyError::TooLong { limit });
    }
    let known = match fixed[0] {
        0x20 => false,
        0x21 => true,
        _ => return Err(ProxyError::Malformed),
    };
    let Some(body) = input.get(V2_FIXED..len) else { return Ok(None) };
    let (_, header) = v2_body(body, known, fixed[1]).map_err(|_| ProxyError::Malformed)?;
    Ok(Some((header, len)))
}

fn v2_body(body: &[u8], known: bool, family: u8) -> IResult<&[u8], ProxyHeader> {
    let (body, addresses) = match family {
        0x11 => map(v4_pair, Some).parse(body)?,
        0x21 => map(v6_pair, Some).parse(body)?,
        // Unix sockets have two paths of 108 octets; what else there may be is not for us.
        0x31 | 0x32 => map(take(216usize), |_| None).parse(body)?,
        0x12 => map(v4_pair, |_| None).parse(body)?,
        0x22 => map(v6_pair, |_| None).parse(body)?,
        _ => return Ok((&[], ProxyHeader { addresses: ProxyAddresses::Unknown, values: Vec::new() })),
    };
    let (rest, values) = many0(value).parse(body)?;
    let (rest, _) = eof(rest)?;
    let addresses = match addresses.filter(|_| known) {
        Some((source, destination)) => ProxyAddresses::Stream { source, destination },
        None => ProxyAddresses::Unknown,
    };
    Ok((rest, ProxyHeader { addresses, values }))
}

type Pair = (SocketAddr, SocketAddr);

fn v4_pair(i: &[u8]) -> IResult<&[u8], Pair> {
    map((be_u32, be_u32, be_u16, be_u16), |(from, to, from_port, to_port)| {
        let ip = |bits| IpAddr::V4(Ipv4Addr::from(bits));
        (SocketAddr::new(ip(from), from_port), SocketAddr::new(ip(to), to_port))
    })
    .parse(i)
}

fn v6_pair(i: &[u8]) -> IResult<&[u8], Pair> {
    map((be_u128, be_u128, be_u16, be_u16), |(from, to, from_port, to_port)| {
        let ip = |bits| IpAddr::V6(Ipv6Addr::from(bits));
        (SocketAddr::new(ip(from), from_port), SocketAddr::new(ip(to), to_port))
    })
    .parse(i)
}

fn value(i: &[u8]) -> IResult<&[u8], ProxyValue> {
    let (i, (kind, len)) = (be_u8, be_u16).parse(i)?;
    map(take(len), |octets: &[u8]| ProxyValue { kind, value: octets.to_vec() }).parse(i)
}

/// The family that was written.
fn put_addresses(body: &mut Vec<u8>, source: SocketAddr, destination: SocketAddr) -> u8 {
    let family = match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            body.extend(from.octets());
            body.extend(to.octets());
            0x11
        }
        (from, to) => {
            body.extend(as_v6(from).octets());
            body.extend(as_v6(to).octets());
            0x21
        }
    };
    body.extend(source.port().to_be_bytes());
    body.extend(destination.port().to_be_bytes());
    family
}

fn as_v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(from: &str, to: &str) -> ProxyHeader {
        let addresses =
            ProxyAddresses::Stream { source: from.parse().unwrap(), destination: to.parse().unwrap() };
        ProxyHeader { addresses, values: Vec::new() }
    }

    fn headers() -> Vec<ProxyHeader> {
        let mut with_values = stream("[2001:db8::1]:5000", "[2001:db8::2]:25");
        with_values.values =
            vec![ProxyValue { kind: 1, value: b"h2".to_vec() }, ProxyValue { kind: 4, value: vec![] }];
        vec![
            stream("192.0.2.1:1234", "198.51.100.2:25"),
            with_values,
            ProxyHeader { addresses: ProxyAddresses::Unknown, values: Vec::new() },
        ]
    }

    #[test]
    fn proxy_header_known_answers() {
        let mut out = Vec::new();
        headers()[0].encode_v1(&mut out);
        assert_eq!(out, b"PROXY TCP4 192.0.2.1 198.51.100.2 1234 25\r\n");
        out.clear();
        headers()[0].encode_v2(&mut out);
        assert!(out.starts_with(V2));
        assert_eq!(out[12..], *b"\x21\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x02\x04\xd2\x00\x19");
        let (header, len) = ProxyHeader::parse(b"PROXY UNKNOWN whatever\r\nEHLO", 536).unwrap().unwrap();
        assert_eq!((header.addresses, len), (ProxyAddresses::Unknown, 24));
    }

    #[test]
    fn proxy_headers_parse_after_encode_and_every_prefix_is_incomplete() {
        for header in headers() {
            let (mut one, mut two) = (Vec::new(), Vec::new());
            header.encode_v1(&mut one);
            header.encode_v2(&mut two);
            for wire in [one, two] {
                for end in 0..wire.len() {
                    assert_eq!(ProxyHeader::parse(&wire[..end], 536), Ok(None));
                }
                let with_more = [wire.as_slice(), b"EHLO x\r\n"].concat();
                let (parsed, len) = ProxyHeader::parse(&with_more, 536).unwrap().unwrap();
                assert_eq!((parsed.addresses, len), (header.addresses, wire.len()));
                if wire.starts_with(V2) {
                    assert_eq!(parsed, header);
                }
            }
        }
    }

    #[test]
    fn bad_proxy_headers_are_refused() {
        let long = [V1, &[b'x'; 200]].concat();
        let v2 = |rest: &[u8]| [V2, rest].concat();
        for (wire, error) in [
            (b"EHLO x\r\n".as_slice(), ProxyError::Missing),
            (b"\r\n\r\nx", ProxyError::Missing),
            (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n", ProxyError::Malformed),
            (b"PROXY TCP4 ::1 ::2 1 2\r\n", ProxyError::Malformed),
            (b"PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n", ProxyError::Malformed),
            (b"PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n", ProxyError::Malformed),
            (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n", ProxyError::Malformed),
            (b"PROXY \xff\r\n", ProxyError::Malformed),
            (&long, ProxyError::TooLong { limit: 107 }),
            (&v2(b"\x31\x11\0\0"), ProxyError::Malformed),
            (&v2(b"\x21\x11\0\x02ab"), ProxyError::Malformed),
            (&v2(b"\x21\x11\xff\xff"), ProxyError::TooLong { limit: 536 }),
            (&v2(b"\x21\x11\0\x0f\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\x09"), ProxyError::Malformed),
        ] {
            assert_eq!(ProxyHeader::parse(wire, 536), Err(error), "{:?}", wire.escape_ascii().to_string());
        }
    }
}
