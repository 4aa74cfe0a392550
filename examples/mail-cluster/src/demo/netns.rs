//! Four hosts on one wire: network namespaces joined by a bridge, made with `ip` of iproute2.
//!
//! The bridge is in a namespace of its own, so the host's network is not touched. Needs root.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::cluster::{A, B, NAMES, WITNESS};

/// The place of the client among the hosts, after the members.
const CLIENT: usize = 3;

/// The interface of every host.
pub const INTERFACE: &str = "eth0";

/// The network's prefix length.
pub const PREFIX: u8 = 24;

/// The hosts' network; nobody else sees it.
const fn address(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 77, 0, last))
}

/// The two addresses that move.
pub const VIPS: [IpAddr; 2] = [address(101), address(102)];

/// Where the members listen for each other.
pub fn peers() -> [SocketAddr; 3] {
    [11, 12, 13].map(|last| SocketAddr::new(address(last), 7420))
}

/// The namespaces. Dropping it deletes them.
pub struct Net {
    name: String,
}

impl Net {
    /// Makes the namespaces `a`, `b`, `w` and `client`, and the bridge that joins them.
    ///
    /// # Errors
    /// Not root, no `ip`, or a kernel without namespaces, veth or bridges; says which.
    pub fn make() -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err(
                "demo --netns needs root: it makes network namespaces. Without root, leave --netns out"
                    .into(),
            );
        }
        if let Err(e) = Command::new("ip").arg("-V").output() {
            return Err(format!("demo --netns needs the program `ip` of iproute2: {e}"));
        }
        // Interface names have at most 15 letters; namespaces of two demos must differ.
        let net = Self { name: format!("ph{}", std::process::id()) };
        net.bridge()?;
        for host in [A, B, WITNESS, CLIENT] {
            net.host(host)?;
        }
        Ok(net)
    }

    fn bridge(&self) -> Result<(), String> {
        let switch = self.switch();
        ip(&["netns", "add", &switch])?;
        ip(&["-n", &switch, "link", "add", "br0", "type", "bridge", "stp_state", "0", "forward_delay", "0"])?;
        ip(&["-n", &switch, "link", "set", "br0", "up"])
    }

    fn host(&self, host: usize) -> Result<(), String> {
        let (space, port, switch) = (self.space(host), port(host), self.switch());
        ip(&["netns", "add", &space])?;
        let wire = ["link", "add", "name", INTERFACE, "netns", &space, "type", "veth", "peer", "name", &port];
        ip(&[&wire[..], &["netns", &switch]].concat())?;
        let own = format!("{}/{PREFIX}", if host == CLIENT { address(20) } else { peers()[host].ip() });
        ip(&["-n", &space, "address", "add", &own, "dev", INTERFACE])?;
        ip(&["-n", &space, "link", "set", "lo", "up"])?;
        ip(&["-n", &space, "link", "set", INTERFACE, "up"])?;
        ip(&["-n", &switch, "link", "set", &port, "master", "br0", "up"])
    }

    /// Moves this thread, and those it starts from now on, into the client's namespace.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn enter_client(&self) -> Result<(), String> {
        let path = format!("/run/netns/{}", self.space(CLIENT));
        let file = std::fs::File::open(&path).map_err(|e| format!("cannot open {path}: {e}"))?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|e| format!("cannot enter {path}: {e}"))
    }

    /// The command that runs `program` on a member's host.
    pub fn command(&self, member: usize, program: &std::path::Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.space(member)]).arg(program);
        command
    }

    /// Cuts the link between node a and node b, or joins it again. Both still reach the witness
    /// and the client.
    ///
    /// # Errors
    /// `ip`'s own.
    pub fn cut(&self, cut: bool) -> Result<(), String> {
        // Isolated ports of a bridge reach only ports that are not.
        let isolated = if cut { "on" } else { "off" };
        for host in [A, B] {
            let port = port(host);
            ip(&[
                "-n",
                &self.switch(),
                "link",
                "set",
                "dev",
                &port,
                "type",
                "bridge_slave",
                "isolated",
                isolated,
            ])?;
        }
        Ok(())
    }

    /// Lets nothing that a member sends reach the other members, or ends that. The client hears it.
    ///
    /// # Errors
    /// `ip`'s own.
    pub fn exile(&self, member: usize, exile: bool) -> Result<(), String> {
        let verb = if exile { "add" } else { "delete" };
        for other in [A, B, WITNESS].into_iter().filter(|&other| other != member) {
            let address = peers()[other].ip().to_string();
            ip(&["-n", &self.space(member), "route", verb, "blackhole", &address])?;
        }
        Ok(())
    }

    /// The hardware address of a member's interface.
    ///
    /// # Errors
    /// `ip`'s own.
    pub fn hardware_address(&self, member: usize) -> Result<String, String> {
        let shown = output(&["-n", &self.space(member), "-brief", "link", "show", "dev", INTERFACE])?;
        let word = shown.split_whitespace().find(|word| word.matches(':').count() == 5);
        word.map(str::to_owned).ok_or_else(|| format!("no hardware address in {shown:?}"))
    }

    /// The hardware address that the client's neighbour table has for an address.
    ///
    /// # Errors
    /// `ip`'s own, or no entry.
    pub fn neighbour(&self, address: IpAddr) -> Result<String, String> {
        let shown = output(&["-n", &self.space(CLIENT), "neighbour", "show", &address.to_string()])?;
        let mut words = shown.split_whitespace().skip_while(|word| *word != "lladdr").skip(1);
        words
            .next()
            .map(str::to_owned)
            .ok_or_else(|| format!("the client has no neighbour {address}: {shown:?}"))
    }

    fn space(&self, host: usize) -> String {
        let host = NAMES.get(host).copied().unwrap_or("client");
        format!("{}-{host}", self.name)
    }

    fn switch(&self) -> String {
        format!("{}-switch", self.name)
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let spaces = [A, B, WITNESS, CLIENT].map(|host| self.space(host));
        for space in spaces.iter().chain([&self.switch()]) {
            let _ = ip(&["netns", "delete", space]);
        }
    }
}

/// The bridge's port that a host is at.
fn port(host: usize) -> String {
    format!("port{host}")
}

fn ip(args: &[&str]) -> Result<(), String> {
    output(args).map(drop)
}

fn output(args: &[&str]) -> Result<String, String> {
    let command = || format!("`ip {}`", args.join(" "));
    let done = Command::new("ip").args(args).output().map_err(|e| format!("{}: {e}", command()))?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    Err(format!("{} failed: {}", command(), String::from_utf8_lossy(&done.stderr).trim()))
}
