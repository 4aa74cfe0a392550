//! Sending Ethernet frames. The only unsafe code of this crate: one socket address.

use std::io;

use socket2::{Domain, SockAddr, SockAddrStorage, Socket, Type};

/// A socket that sends whole Ethernet frames and receives nothing.
#[derive(Debug)]
pub(super) struct RawSocket(Socket);

impl RawSocket {
    /// Needs `CAP_NET_RAW`.
    pub(super) fn open() -> io::Result<Self> {
        // Protocol 0: the kernel delivers no frame to us.
        let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
        socket.set_nonblocking(true)?;
        Ok(Self(socket))
    }

    /// Sends `frame` on the interface of that number.
    pub(super) fn send(&self, index: u32, frame: &[u8]) -> io::Result<()> {
        self.0.send_to(frame, &address(index)?).map(drop)
    }
}

/// The address of an interface; for raw frames nothing else of it counts (packet(7)).
fn address(index: u32) -> io::Result<SockAddr> {
    let index = i32::try_from(index).map_err(io::Error::other)?;
    let mut storage = SockAddrStorage::zeroed();
    let len = size_of::<libc::sockaddr_ll>();
    // SAFETY: `sockaddr_ll` is one of the socket address types: it begins with the family, is no larger
    // and no more strictly aligned than `sockaddr_storage`, and any bytes (here zeros) are a valid one.
    let link = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    link.sll_family = libc::AF_PACKET as libc::sa_family_t;
    link.sll_ifindex = index;
    // SAFETY: the storage holds a `sockaddr_ll` of family AF_PACKET, and `len` is its size.
    Ok(unsafe { SockAddr::new(storage, len as libc::socklen_t) })
}
