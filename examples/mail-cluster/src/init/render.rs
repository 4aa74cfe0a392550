//! The text of a configuration, with its comments.

use std::fmt::Write;
use std::net::IpAddr;

use super::{Laid, Plan};
use crate::config::{ClusterId, Driver, Limits, Role, Timing, show_size};

/// The configuration of `member`.
pub(super) fn config(plan: &Plan, cluster: ClusterId, member: &Laid, members: &[Laid]) -> String {
    let mut out = String::new();
    head(&mut out, plan, cluster, member);
    for m in members {
        let (name, address) = (quote(&m.name), quote(&m.address));
        put(
            &mut out,
            format_args!(
                "\n[[member]]\nname = {name}\nid = {}\nrole = \"{}\"\naddress = {address}\n",
                m.id.0, m.role
            ),
        );
    }
    volumes(&mut out, plan);
    addresses(&mut out, plan);
    if member.role == Role::Node {
        services(&mut out, plan);
        limits(&mut out, &plan.limits);
    }
    timing(&mut out, &plan.timing);
    if plan.volatile_disk {
        put(
            &mut out,
            format_args!(
                "\n# For tests only: what is not flushed dies with the process, as in a power cut.\n[testing]\ndisk = \"volatile\"\n"
            ),
        );
    }
    out
}

fn head(out: &mut String, plan: &Plan, cluster: ClusterId, member: &Laid) {
    let domains: Vec<String> = plan.domains.iter().map(|d| quote(d)).collect();
    put(
        out,
        format_args!(
            "# Posthaste: the {role} {name}. `posthaste check --config FILE` says whether it is right.
# Relative paths are relative to this file. [node] is this member's own; all else is the same in
# every member's file.

[cluster]
id = \"{cluster}\"
name = {title}
# Mail for other domains is refused.
domains = [{domains}]

[node]
name = {name_quoted}
id = {id}
role = \"{role}\"
# Volumes, the quorum's log, the operator's socket.
data_dir = {data}
# Where the other members reach it; open this port between members, and only there.
peer_listen = {listen}
ca = \"ca.crt\"
cert = \"node.crt\"
key = \"node.key\"
",
            role = member.role,
            name = member.name,
            title = quote(&plan.name),
            domains = domains.join(", "),
            name_quoted = quote(&member.name),
            id = member.id.0,
            data = quote(&plan.data_dir.to_string_lossy()),
            listen = quote(&listen_on(&member.address)),
        ),
    );
}

/// On the loopback only there, else on every address with that port.
fn listen_on(address: &str) -> String {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(ip) if ip.is_loopback() => address.to_owned(),
        Ok(IpAddr::V6(_)) => format!("[::]:{port}"),
        _ => format!("0.0.0.0:{port}"),
    }
}

/// One volume homed on each node, with its second copy on the next node.
fn volumes(out: &mut String, plan: &Plan) {
    put(
        out,
        format_args!(
            "
# A volume has a copy on each of its replicas and is led by one of them at a time: by `home` when all
# is well. A user's mail is on one volume. The device is preallocated at the first start.
"
        ),
    );
    for (i, node) in plan.nodes.iter().enumerate() {
        let mut replicas = vec![quote(&node.name)];
        if plan.nodes.len() > 1 {
            replicas.push(quote(&plan.nodes[(i + 1) % plan.nodes.len()].name));
        }
        put(
            out,
            format_args!(
                "[[volume]]\nname = \"vol{}\"\nsize = \"{}\"\nhome = {}\nreplicas = [{}]\n\n",
                i + 1,
                show_exact(plan.volume_size),
                quote(&node.name),
                replicas.join(", "),
            ),
        );
    }
}

fn addresses(out: &mut String, plan: &Plan) {
    if plan.addresses.is_empty() {
        put(
            out,
            format_args!(
                "# Addresses that move between nodes; give each an A (or AAAA) and an MX record of equal weight.\n# [[address]]\n# ip = \"192.0.2.10\"\n# home = \"a\"\n"
            ),
        );
    } else {
        put(
            out,
            format_args!(
                "# Addresses that move between nodes; give each an A (or AAAA) and an MX record of equal weight.\n"
            ),
        );
    }
    for (ip, home) in &plan.addresses {
        put(out, format_args!("[[address]]\nip = \"{ip}\"\nhome = {}\n", quote(home)));
    }
    match &plan.driver {
        Driver::Loopback => put(
            out,
            format_args!(
                "\n[addresses]\n# An address is taken by binding it: for members on one host only.\ndriver = \"loopback\"\n"
            ),
        ),
        Driver::Netlink { interface, prefix } => {
            put(
                out,
                format_args!(
                    "\n[addresses]\n# An address is taken by adding it to the interface and announcing it (ARP, NDP).\ndriver = \"netlink\"\ninterface = {}\n",
                    quote(interface)
                ),
            );
            if let Some(prefix) = prefix {
                put(out, format_args!("prefix = {prefix}\n"));
            }
        }
    }
}

fn services(out: &mut String, plan: &Plan) {
    let p = plan.ports;
    put(
        out,
        format_args!(
            "
[services]
hostname = {}
# Ports; 0 is off. smtp takes mail for our own domains only; lmtp is for a mail server in front of us.
smtp = {}
lmtp = {}
submission = {}
submissions = {}
imap = {}
imaps = {}
pop3 = {}
pop3s = {}
# Whether passwords are accepted without TLS.
plaintext_login = {}
# What mail clients see; replace it by a certificate of a public CA, and send SIGHUP.
cert = \"service.crt\"
key = \"service.key\"
",
            quote(&plan.hostname),
            p.smtp,
            p.lmtp,
            p.submission,
            p.submissions,
            p.imap,
            p.imaps,
            p.pop3,
            p.pop3s,
            plan.plaintext_login,
        ),
    );
}

fn limits(out: &mut String, limits: &Limits) {
    let (message, memory) = (show_exact(limits.message_size), show_exact(limits.memory));
    put(
        out,
        format_args!(
            "
[limits]
message_size = \"{message}\"
connections = {}
# Messages in memory at once, over all connections.
memory = \"{memory}\"
recipients = {}
",
            limits.connections, limits.recipients,
        ),
    );
}

fn timing(out: &mut String, timing: &Timing) {
    put(
        out,
        format_args!(
            "
# Failure detection, in milliseconds. These suit a LAN; a failover takes about suspect + lease.
[timing]
heartbeat_ms = {}
# At least three heartbeats.
suspect_ms = {}
# More than suspect_ms.
lease_ms = {}
# Part of the lease given up for clock drift.
margin_ms = {}
# How long this member's disk may owe an answer before the volumes that it leads move away for good, until
# the node is started again.
disk_ms = {}
# Whether a refused connection proves that a member's process is gone: saves part of the wait.
hints = {}
",
            timing.heartbeat.as_millis(),
            timing.suspect.as_millis(),
            timing.lease.as_millis(),
            timing.margin.as_millis(),
            timing.disk.as_millis(),
            timing.hints,
        ),
    );
}

/// A size that parses back to the same bytes.
fn show_exact(bytes: u64) -> String {
    let shown = show_size(bytes).to_string();
    if crate::config::parse_size(&shown) == Ok(bytes) { shown } else { format!("{bytes} B") }
}

fn quote(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing into a String cannot fail.
    let _ = out.write_fmt(text);
}
