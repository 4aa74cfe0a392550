//! Telling the neighbours who has an address now: the frames, and when to send them. No I/O, no clock.
//!
//! IPv4: gratuitous ARP in both forms, since some gear heeds only requests and some only replies
//! (RFC 5944 §4.6 allows both). IPv6: the unsolicited neighbour advertisement of RFC 4861 §7.2.6.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr,
    Icmpv6Packet, Icmpv6Repr, IpProtocol, Ipv6Packet, Ipv6Repr, NdiscNeighborFlags, NdiscRepr,
};

/// An Ethernet address.
pub type Mac = [u8; 6];

/// All nodes on the link (RFC 4291 §2.7.1), and its Ethernet address (RFC 2464 §7).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: EthernetAddress = EthernetAddress([0x33, 0x33, 0, 0, 0, 1]);

/// The frames that say once that `ip` is at `mac`. `router` is whether this host forwards IPv6:
/// neighbours would drop it as a router otherwise (RFC 4861 §7.2.5).
pub fn frames(mac: Mac, ip: IpAddr, router: bool) -> Vec<Vec<u8>> {
    match ip {
        IpAddr::V4(ip) => vec![gratuitous_arp(mac, ip, Form::Request), gratuitous_arp(mac, ip, Form::Reply)],
        IpAddr::V6(ip) => vec![unsolicited_advertisement(mac, ip, router)],
    }
}

/// The two forms of a gratuitous ARP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// "Who has it? Tell it." The target's Ethernet address is zero (RFC 5227 §3).
    Request,
    /// "I have it", to everybody. The target is the sender again (RFC 5944 §4.6).
    Reply,
}

/// A gratuitous ARP: an Ethernet frame of 42 bytes, to everybody.
pub fn gratuitous_arp(mac: Mac, ip: Ipv4Addr, form: Form) -> Vec<u8> {
    let mac = EthernetAddress(mac);
    let (operation, target) = match form {
        Form::Request => (ArpOperation::Request, EthernetAddress([0; 6])),
        Form::Reply => (ArpOperation::Reply, mac),
    };
    let arp = ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr: mac,
        source_protocol_addr: ip,
        target_hardware_addr: target,
        target_protocol_addr: ip,
    };
    ethernet(mac, EthernetAddress::BROADCAST, EthernetProtocol::Arp, arp.buffer_len(), |payload| {
        arp.emit(&mut ArpPacket::new_unchecked(payload));
    })
}

/// An unsolicited neighbour advertisement: an Ethernet frame of 86 bytes, to all nodes. Override is
/// set, Solicited is not, the hop limit is 255, the source is the address itself.
pub fn unsolicited_advertisement(mac: Mac, ip: Ipv6Addr, router: bool) -> Vec<u8> {
    let mac = EthernetAddress(mac);
    let mut flags = NdiscNeighborFlags::OVERRIDE;
    flags.set(NdiscNeighborFlags::ROUTER, router);
    let advert =
        Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert { flags, target_addr: ip, lladdr: Some(mac.into()) });
    let header = Ipv6Repr {
        src_addr: ip,
        dst_addr: ALL_NODES,
        next_header: IpProtocol::Icmpv6,
        payload_len: advert.buffer_len(),
        hop_limit: 255,
    };
    let len = header.buffer_len() + advert.buffer_len();
    ethernet(mac, ALL_NODES_MAC, EthernetProtocol::Ipv6, len, |payload| {
        let mut packet = Ipv6Packet::new_unchecked(payload);
        header.emit(&mut packet);
        let mut icmp = Icmpv6Packet::new_unchecked(packet.payload_mut());
        advert.emit(&ip, &ALL_NODES, &mut icmp, &ChecksumCapabilities::default());
    })
}

fn ethernet(
    from: EthernetAddress,
    to: EthernetAddress,
    ethertype: EthernetProtocol,
    len: usize,
    fill: impl FnOnce(&mut [u8]),
) -> Vec<u8> {
    let header = EthernetRepr { src_addr: from, dst_addr: to, ethertype };
    let mut bytes = vec![0; header.buffer_len() + len];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
    header.emit(&mut frame);
    fill(frame.payload_mut());
    bytes
}

/// When to announce: a burst after the takeover, since single frames get lost and switches learn
/// slowly, then for as long as the address is held, since caches age.
///
/// Ask [`Schedule::poll_timeout`], wait until then, call [`Schedule::handle_timeout`], send once if it
/// says so. After a long pause it announces once, not once for each time that was missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    taken: Instant,
    /// How many of [`Schedule::BURST`] are done.
    burst: usize,
    next: Instant,
}

impl Schedule {
    /// Times of the burst, after the takeover.
    pub const BURST: [Duration; 5] = [
        Duration::ZERO,
        Duration::from_millis(50),
        Duration::from_millis(200),
        Duration::from_millis(1000),
        Duration::from_millis(3000),
    ];
    /// Time between announcements after the burst.
    pub const REFRESH: Duration = Duration::from_secs(30);

    /// For an address taken at `now`; the first announcement is due at once.
    pub fn new(now: Instant) -> Self {
        Self { taken: now, burst: 0, next: now }
    }

    /// When [`Schedule::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Instant {
        self.next
    }

    /// Whether to announce now.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        if now < self.next {
            return false;
        }
        while self.burst < Self::BURST.len() && self.taken + Self::BURST[self.burst] <= now {
            self.burst += 1;
        }
        self.next = match Self::BURST.get(self.burst) {
            Some(after) => self.taken + *after,
            None => now + Self::REFRESH,
        };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = [0x02, 0x11, 0x22, 0x33, 0x44, 0x55];

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let digit = |d: u8| char::from(d).to_digit(16).unwrap() as u8;
        digits.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
    }

    #[test]
    fn gratuitous_arp_in_both_forms_is_as_the_rfcs_say() {
        let [request, reply] = &frames(MAC, "192.0.2.10".parse().unwrap(), false)[..] else {
            panic!("two forms")
        };
        let head = "ffffffffffff 021122334455 0806 0001 0800 06 04";
        assert_eq!(*request, hex(&format!("{head} 0001 021122334455 c000020a 000000000000 c000020a")));
        assert_eq!(*reply, hex(&format!("{head} 0002 021122334455 c000020a 021122334455 c000020a")));
    }

    #[test]
    fn the_unsolicited_advertisement_is_as_the_rfcs_say() {
        let [host] = &frames(MAC, "2001:db8::10".parse().unwrap(), false)[..] else { panic!("one frame") };
        let source = "20010db8000000000000000000000010";
        let all_nodes = "ff020000000000000000000000000001";
        let ipv6 = format!("60000000 0020 3a ff {source} {all_nodes}");
        let advert = |flags, sum| format!("88 00 {sum} {flags}000000 {source} 02 01 021122334455");
        let ethernet = "333300000001 021122334455 86dd";
        let sum = format!("{:04x}", checksum(&ipv6, &advert("20", "0000")));
        assert_eq!(*host, hex(&format!("{ethernet} {ipv6} {}", advert("20", &sum))));
        let [router] = &frames(MAC, "2001:db8::10".parse().unwrap(), true)[..] else { panic!("one frame") };
        let sum = format!("{:04x}", checksum(&ipv6, &advert("a0", "0000")));
        assert_eq!(*router, hex(&format!("{ethernet} {ipv6} {}", advert("a0", &sum))));
    }

    /// RFC 4443 §2.3, by hand: the pseudo header and the message in 16-bit words.
    fn checksum(ipv6: &str, message: &str) -> u16 {
        let (ipv6, message) = (hex(ipv6), hex(message));
        let mut bytes = ipv6[8..40].to_vec();
        bytes.extend((message.len() as u32).to_be_bytes());
        bytes.extend([0, 0, 0, 58]);
        bytes.extend(message);
        let mut sum: u32 = bytes.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn the_schedule_is_a_burst_and_then_a_refresh() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        let mut sent = Vec::new();
        for _ in 0..7 {
            let at = schedule.poll_timeout();
            assert!(
                !schedule.handle_timeout(at.checked_sub(Duration::from_nanos(1)).unwrap()),
                "not before its time"
            );
            assert!(schedule.handle_timeout(at));
            sent.push((at - start).as_millis());
        }
        assert_eq!(sent, [0, 50, 200, 1000, 3000, 33_000, 63_000]);
    }

    #[test]
    fn a_pause_is_made_up_for_by_one_announcement() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        assert!(schedule.handle_timeout(start + Duration::from_millis(500)));
        assert_eq!(schedule.poll_timeout(), start + Duration::from_millis(1000));
        assert!(schedule.handle_timeout(start + Duration::from_secs(90)));
        assert_eq!(schedule.poll_timeout(), start + Duration::from_secs(120));
        assert!(!schedule.handle_timeout(start + Duration::from_secs(90)));
    }
}
