//! What the kernel is asked: an interface's number and Ethernet address, add and remove an address.

use std::io;
use std::net::IpAddr;

use futures_util::StreamExt;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, CacheInfo};
use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::{Error, Handle};

use crate::announce::Mac;

/// An interface that can announce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) mac: Mac,
}

/// Looks an interface up; its Ethernet address may change, as that of a bond does.
pub(super) async fn link(netlink: &Handle, name: &str) -> Result<Link, String> {
    let mut links = netlink.link().get().match_name(name).execute();
    let message = match links.next().await {
        Some(Ok(message)) => message,
        Some(Err(error)) => return Err(text(&error)),
        None => return Err("there is no such interface".into()),
    };
    let mac = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(bytes) => Mac::try_from(bytes.as_slice()).ok(),
        _ => None,
    });
    match mac.filter(|mac| *mac != Mac::default()) {
        Some(mac) => Ok(Link { index: message.header.index, mac }),
        None => Err("it has no Ethernet address, so nothing could be announced".into()),
    }
}

/// Adds the address, or renews it: for `seconds`, without a route, without duplicate address
/// detection (its owner is decided elsewhere), never as a source (preferred for 0 s).
pub(super) async fn hold(
    netlink: &Handle,
    link: Link,
    ip: IpAddr,
    prefix: Option<u8>,
    seconds: u32,
) -> Result<(), String> {
    let prefix = prefix.unwrap_or(if ip.is_ipv4() { 32 } else { 128 });
    let mut request = netlink.address().add(link.index, ip, prefix).replace();
    let mut lifetime = CacheInfo::default();
    lifetime.ifa_preferred = 0;
    lifetime.ifa_valid = seconds;
    let attributes = &mut request.message_mut().attributes;
    attributes.push(AddressAttribute::Flags(AddressFlags::Noprefixroute | AddressFlags::Nodad));
    attributes.push(AddressAttribute::CacheInfo(lifetime));
    request.execute().await.map_err(|e| text(&e))
}

/// Removes the address, whatever prefix it has. No error if it is not there.
pub(super) async fn remove(netlink: &Handle, link: Link, ip: IpAddr) -> Result<(), String> {
    let mut here = netlink.address().get().set_link_index_filter(link.index).execute();
    let mut found = Vec::new();
    while let Some(message) = here.next().await {
        let message = message.map_err(|e| text(&e))?;
        if is_of(&message, ip) {
            found.push(message);
        }
    }
    for message in found {
        match netlink.address().del(message).execute().await {
            Err(error) if !is_gone(&error) => return Err(text(&error)),
            _ => {}
        }
    }
    Ok(())
}

fn is_of(message: &AddressMessage, ip: IpAddr) -> bool {
    message.attributes.iter().any(|attribute| match attribute {
        // On a point-to-point link `Address` is the other end, and `Local` ours.
        AddressAttribute::Local(local) => *local == ip,
        AddressAttribute::Address(address) => *address == ip && ip.is_ipv6(),
        _ => false,
    })
}

/// It lapsed between the look and the removal.
fn is_gone(error: &Error) -> bool {
    matches!(error, Error::NetlinkError(message) if message.to_io().raw_os_error() == Some(libc::EADDRNOTAVAIL))
}

fn text(error: &Error) -> String {
    match error {
        Error::NetlinkError(message) => {
            let cause = message.to_io();
            let hint = if cause.kind() == io::ErrorKind::PermissionDenied {
                " (CAP_NET_ADMIN is needed)"
            } else {
                ""
            };
            format!("{cause}{hint}")
        }
        other => other.to_string(),
    }
}
