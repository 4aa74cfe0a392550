//! A member that cannot start says why, and how it ended is in its exit code.

use std::net::TcpListener;
use std::process::Output;

use posthaste_mail_cluster::Config;
use posthaste_mail_cluster::demo::cluster::{A, WITNESS};

use crate::house::{House, block_on};

/// What `posthaste node` says of a configuration in which `from` is `to`, and the line where `to`'s
/// last line is.
async fn node_with(from: &str, to: &str) -> (Output, String) {
    let house = House::lay(32);
    house.edit_config(A, from, to);
    let output = house.command(A, &["node"]).await;
    assert!(!house.data(A).exists(), "a node with a wrong configuration has touched its data directory");
    (output, house.config(A).display().to_string())
}

/// Checks exit code 3 and a message with file, line, key and reason.
fn refused((output, file): &(Output, String), parts: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    let at = format!("{file}:");
    let line = said.split_once(&at).and_then(|(_, rest)| rest.split(':').next()?.parse::<usize>().ok());
    assert!(line.is_some(), "no file and line in: {said}");
    parts.iter().for_each(|part| assert!(said.contains(part), "no {part:?} in: {said}"));
    assert_eq!(said.lines().count(), 1, "more than a sentence: {said}");
}

#[test]
fn a_wrong_configuration_ends_with_code_3_and_names_file_line_and_key() {
    block_on(async {
        let unknown = node_with("[node]\n", "[node]\ncolour = \"red\"\n").await;
        refused(&unknown, &["node.colour", "unknown field"]);
        let address = node_with("[[address]]\nip = \"127.", "[[address]]\nip = \"999.").await;
        refused(&address, &["address[0].ip", "is no IP address"]);
        let twins = node_with("[[member]]\nname = \"b\"", "[[member]]\nname = \"a\"").await;
        refused(&twins, &["member[1].name", "a is used twice"]);
    });
}

#[test]
fn a_peer_port_in_use_ends_with_code_1_and_names_the_address() {
    block_on(async {
        let mut house = House::lay(32);
        for (member, role) in [(A, "node"), (WITNESS, "witness")] {
            let address = Config::load(house.config(member)).expect("right").node.peer_listen;
            let taken = TcpListener::bind(address).expect("it was free");
            let output = house.command(member, &[role]).await;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{said}");
            let text = format!("posthaste: cannot listen for members on {address}: Address already in use");
            assert!(said.contains(&text), "{said}");
            drop(taken);
            // It was only the port: nothing is left behind that keeps it from starting.
            house.run(member);
            house.logged(member, &["started"]).await;
        }
    });
}
