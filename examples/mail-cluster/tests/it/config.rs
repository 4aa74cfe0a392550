//! Every mistake in a configuration is refused with file, line and key.

use std::path::Path;

use posthaste_mail_cluster::Config;
use posthaste_mail_cluster::config::ConfigError;

const GOOD: &str = r#"[cluster]
id = "00112233445566778899aabbccddeeff"
name = "test"
domains = ["example.org"]

[node]
name = "a"
id = 1
role = "node"
data_dir = "data"
peer_listen = "127.0.0.1:7420"
ca = "ca.crt"
cert = "node.crt"
key = "node.key"

[[member]]
name = "a"
id = 1
role = "node"
address = "127.0.0.1:7420"

[[member]]
name = "b"
id = 2
role = "node"
address = "b.example.org:7420"

[[member]]
name = "w"
id = 3
role = "witness"
address = "[::1]:7420"

[[volume]]
name = "vol1"
size = "1 GiB"
home = "a"
replicas = ["a", "b"]

[[volume]]
name = "vol2"
size = "1 GiB"
home = "b"
replicas = ["b", "a"]

[[address]]
ip = "127.0.0.2"
home = "a"

[[address]]
ip = "127.0.0.3"
home = "b"

[addresses]
driver = "loopback"

[services]
hostname = "mail.example.org"
smtp = 25
imap = 143
imaps = 993
cert = "service.crt"
key = "service.key"

[limits]
message_size = "50 MiB"

[timing]
heartbeat_ms = 100
suspect_ms = 500
lease_ms = 700
margin_ms = 100
"#;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("/etc/posthaste/posthaste.toml"))
}

#[test]
fn a_good_configuration_is_taken_with_absolute_paths() {
    let config = parse(GOOD).unwrap();
    assert_eq!(config.node.data_dir, Path::new("/etc/posthaste/data"));
    assert_eq!(config.admin_socket(), Path::new("/etc/posthaste/data/admin.sock"));
    assert_eq!(config.cluster.id.to_string(), "00112233445566778899aabbccddeeff");
    assert_eq!(config.services.ports(), [("smtp", 25), ("imap", 143), ("imaps", 993)]);
    assert_eq!(config.others().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["b", "w"]);
    assert!(!config.testing.volatile_disk);
}

/// (what is replaced, by what, the key in the error, a part of the message). Of several places the
/// last one is replaced.
const MISTAKES: &[(&str, &str, &str, &str)] = &[
    ("name = \"test\"", "name = \"test\"\ncolour = \"red\"", "cluster.colour", "unknown field `colour`"),
    ("[limits]", "[limitz]", "limitz", "unknown field `limitz`"),
    ("id = 1\nrole", "id = \"one\"\nrole", "member.id", "invalid type: string"),
    ("smtp = 25", "smtp = 70000", "services.smtp", "invalid value"),
    ("role = \"witness\"", "role = \"king\"", "member.role", "unknown variant `king`"),
    ("size = \"1 GiB\"", "size = 1 GiB", "volume.size", ""),
    ("id = \"0011", "id = \"zz11", "cluster.id", "no cluster id"),
    ("[\"example.org\"]", "[]", "cluster.domains", "is empty"),
    ("[\"example.org\"]", "[\"exa mple\"]", "cluster.domains", "no domain name"),
    (
        "peer_listen = \"127.0.0.1:7420\"",
        "peer_listen = \"somewhere\"",
        "node.peer_listen",
        "\"somewhere\" is no address",
    ),
    ("[node]\nname = \"a\"", "[node]\nname = \"c\"", "node.name", "members are a, b, w"),
    (
        "name = \"a\"\nid = 1\nrole = \"node\"\ndata_dir",
        "name = \"a\"\nid = 9\nrole = \"node\"\ndata_dir",
        "node.id",
        "has id 1",
    ),
    ("role = \"node\"\ndata_dir", "role = \"witness\"\ndata_dir", "node.role", "is a node"),
    ("name = \"b\"", "name = \"a\"", "member[1].name", "a is used twice, first on line 17"),
    ("id = 2", "id = 1", "member[1].id", "1 is used twice, first on line 18"),
    ("id = 3", "id = 0", "member[2].id", "is 0"),
    ("address = \"b.example.org:7420\"", "address = \"127.0.0.1:7420\"", "member[1].address", "used twice"),
    ("b.example.org:7420", "b.example.org", "member[1].address", "write host:port"),
    ("b.example.org:7420", "b_example:0", "member[1].address", "write host:port"),
    ("name = \"b\"", "name = \"b/..\"", "member[1].name", "is no name"),
    ("name = \"vol2\"", "name = \"vol1\"", "volume[1].name", "used twice"),
    ("name = \"vol2\"", "name = \"../vol\"", "volume[1].name", "no volume name"),
    ("size = \"1 GiB\"", "size = \"1 GB\"", "volume[1].size", "is no size"),
    ("size = \"1 GiB\"", "size = \"1 MiB\"", "volume[1].size", "at least 16 MiB"),
    (
        "home = \"b\"\nreplicas = [\"b\", \"a\"]",
        "home = \"b\"\nreplicas = [\"a\"]",
        "volume[1].home",
        "not one of the volume's replicas",
    ),
    ("replicas = [\"b\", \"a\"]", "replicas = [\"b\", \"x\"]", "volume[1].replicas", "\"x\" is no member"),
    ("replicas = [\"b\", \"a\"]", "replicas = [\"b\", \"w\"]", "volume[1].replicas", "is the witness"),
    ("replicas = [\"b\", \"a\"]", "replicas = [\"b\", \"b\"]", "volume[1].replicas", "twice"),
    ("ip = \"127.0.0.3\"", "ip = \"127.0.0.300\"", "address[1].ip", "is no IP address"),
    ("ip = \"127.0.0.3\"", "ip = \"127.0.0.2\"", "address[1].ip", "used twice"),
    ("ip = \"127.0.0.3\"", "ip = \"192.0.2.3\"", "address[1].ip", "not on the loopback"),
    (
        "ip = \"127.0.0.3\"\nhome = \"b\"",
        "ip = \"127.0.0.3\"\nhome = \"w\"",
        "address[1].home",
        "is the witness",
    ),
    ("driver = \"loopback\"", "driver = \"netlink\"", "addresses.interface", "is missing"),
    (
        "driver = \"loopback\"",
        "driver = \"netlink\"\ninterface = \"eth0\"",
        "address[0].ip",
        "on the loopback",
    ),
    ("imaps = 993", "imaps = 143", "services.imaps", "143 is used twice"),
    ("cert = \"service.crt\"\n", "", "services.cert", "is missing"),
    (
        "cert = \"service.crt\"\nkey = \"service.key\"\n",
        "",
        "services.cert",
        "imaps, pop3s and submissions need",
    ),
    (
        "imaps = 993\ncert = \"service.crt\"\nkey = \"service.key\"\n",
        "",
        "services.cert",
        "nobody could log in",
    ),
    ("hostname = \"mail.example.org\"", "hostname = \"-\"", "services.hostname", "no host name"),
    ("message_size = \"50 MiB\"", "message_size = \"1 GiB\"", "limits.message_size", "60 MiB"),
    ("message_size = \"50 MiB\"", "memory = \"50 MiB\"", "limits.memory", "two messages"),
    ("message_size = \"50 MiB\"", "connections = 0", "limits.connections", "must be 1 to"),
    ("suspect_ms = 500", "suspect_ms = 200", "timing.suspect_ms", "three times heartbeat_ms"),
    ("lease_ms = 700", "lease_ms = 500", "timing.lease_ms", "more than suspect_ms"),
    ("margin_ms = 100", "margin_ms = 400", "timing.margin_ms", "half of lease_ms"),
    ("heartbeat_ms = 100", "heartbeat_ms = 0", "timing.heartbeat_ms", "5 to 600000"),
];

#[test]
fn every_mistake_names_file_line_and_key() {
    for (from, to, key, message) in MISTAKES {
        let at = GOOD.rfind(from).unwrap_or_else(|| panic!("{from:?} is not in the example"));
        let text = format!("{}{to}{}", &GOOD[..at], &GOOD[at + from.len()..]);
        let error = parse(&text).err().unwrap_or_else(|| panic!("{to:?} was taken"));
        assert_eq!(error.key.as_deref(), Some(*key), "{to:?}: {error}");
        assert!(error.message.contains(message), "{to:?}: {error}");
        let line = error.line.unwrap_or_else(|| panic!("{to:?}: no line: {error}"));
        assert!(
            error.to_string().starts_with(&format!("/etc/posthaste/posthaste.toml:{line}: {key}: ")),
            "{error}"
        );
        // The line is the changed one, or (for what depends on it) at least one of the same section.
        let first = text[..at].lines().count();
        if !to.is_empty() && !to.starts_with("driver") {
            let changed = first..=first + 1 + to.lines().count();
            assert!(changed.contains(&line), "{to:?}: line {line} is not in {changed:?}: {error}");
        }
    }
}

#[test]
fn what_is_missing_altogether_is_named() {
    for (cut, key) in [("[services]\n", "services"), ("[[volume]]\n", "volume")] {
        let mut text = String::new();
        for section in GOOD.split_inclusive("\n\n").filter(|s| !s.starts_with(cut)) {
            text.push_str(section);
        }
        let error = parse(&text).unwrap_err();
        assert_eq!(error.key.as_deref(), Some(key), "{error}");
    }
    let error = parse(&GOOD.replace("id = \"00112233445566778899aabbccddeeff\"\n", "")).unwrap_err();
    assert!(error.to_string().contains("missing field `id`") && error.line == Some(1), "{error}");
}

#[test]
fn a_file_that_is_not_there_is_an_error_with_its_name() {
    let error = Config::load(Path::new("/nowhere/posthaste.toml")).unwrap_err();
    assert!(error.to_string().starts_with("/nowhere/posthaste.toml: "), "{error}");
}
