//! Addresses on a real interface, in a network namespace of their own. Needs root, `unshare` and `ip`.
//!
//! Each test runs this test binary again, as itself, inside the namespace.

use std::io::Read;
use std::net::IpAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use posthaste_vip::announce::frames;
use posthaste_vip::{AddressDriver, ClaimError, Netlink, NetlinkConfig};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;

const INSIDE: &str = "POSTHASTE_VIP_INSIDE";
const MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0a];

fn sh(line: &str) -> Option<String> {
    let output = Command::new("sh").args(["-c", line]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether we are inside; if not, runs the test inside, or says why it cannot.
fn inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        let up = "ip link set lo up && ip link add v0 address 02:00:00:00:00:0a type veth peer name v1 \
                  && ip link set v0 up && ip link set v1 up";
        sh(up).expect("interfaces in the namespace");
        return true;
    }
    if sh("unshare --net ip link show lo").is_none() {
        let why = "needs root, unshare and ip";
        assert!(std::env::var("POSTHASTE_REQUIRE").as_deref() != Ok("all"), "{test} {why}");
        eprintln!("{test} skipped: {why}");
        return false;
    }
    let mut command = Command::new("unshare");
    command.arg("--net").arg(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("netlink::{test}"), "--nocapture"]).env(INSIDE, "1");
    assert!(command.status().unwrap().success(), "{test} failed inside the namespace");
    false
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

/// Whether the address is on the interface, and how.
fn shown(ip: IpAddr) -> Option<String> {
    let all = sh("ip -o addr show dev v0").unwrap();
    let prefix = if ip.is_ipv4() { 32 } else { 128 };
    all.lines().find(|line| line.contains(&format!(" {ip}/{prefix} "))).map(str::to_owned)
}

async fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within 20 s");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// All frames of the namespace from now on.
fn capture() -> Receiver<Vec<u8>> {
    // ETH_P_ALL in network order.
    let every = Protocol::from(i32::from(3_u16.to_be()));
    let mut socket = Socket::new(Domain::PACKET, Type::RAW, Some(every)).unwrap();
    let (seen, frames) = channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok(len) = socket.read(&mut buffer) {
            if seen.send(buffer[..len].to_vec()).is_err() {
                return;
            }
        }
    });
    frames
}

#[test]
fn a_claimed_address_is_on_the_interface_and_announced_in_all_forms() {
    if !inside("a_claimed_address_is_on_the_interface_and_announced_in_all_forms") {
        return;
    }
    run(async {
        let driver = Netlink::start(NetlinkConfig::new("v0")).await.unwrap();
        for ip in ["192.0.2.10", "2001:db8::10"].map(|ip| ip.parse::<IpAddr>().unwrap()) {
            let captured = capture();
            let mut claim = driver.claim(ip, &[25, 143]).await.unwrap();
            let line = shown(ip).expect("on the interface");
            assert!(
                line.contains("noprefixroute") && line.contains("deprecated") && !line.contains("tentative"),
                "{line}"
            );
            let listener = claim.take_listener(25).unwrap().into_tokio().unwrap();
            TcpStream::connect((ip, 25)).await.unwrap();
            let mut missing = frames(MAC, ip, false);
            wait_until("announcements", || {
                captured.try_iter().for_each(|seen| missing.retain(|frame| *frame != seen));
                missing.is_empty()
            })
            .await;
            // Longer than its lifetime: it is renewed.
            tokio::time::sleep(Duration::from_millis(2500)).await;
            assert!(shown(ip).is_some(), "it lapsed");
            drop(listener);
            driver.release(claim).await.unwrap();
            assert!(shown(ip).is_none(), "still there");
        }
    });
}

#[test]
fn without_the_right_to_hold_it_the_kernel_drops_the_address() {
    if !inside("without_the_right_to_hold_it_the_kernel_drops_the_address") {
        return;
    }
    run(async {
        let lease = Arc::new(AtomicBool::new(true));
        let mut config = NetlinkConfig::new("v0");
        let asked = Arc::clone(&lease);
        config.may_hold = Arc::new(move || asked.load(Ordering::SeqCst));
        let driver = Netlink::start(config).await.unwrap();
        let ip = "192.0.2.10".parse().unwrap();
        let claim = driver.claim(ip, &[25]).await.unwrap();
        lease.store(false, Ordering::SeqCst);
        wait_until("the address lapses", || shown(ip).is_none()).await;
        lease.store(true, Ordering::SeqCst);
        wait_until("the address returns", || shown(ip).is_some()).await;
        drop(claim);
        wait_until("a dropped claim is released", || shown(ip).is_none()).await;
    });
}

#[test]
fn leftovers_are_removed_at_the_start_and_held_ones_stay() {
    if !inside("leftovers_are_removed_at_the_start_and_held_ones_stay") {
        return;
    }
    run(async {
        let [stale, held, foreign] =
            ["192.0.2.10", "192.0.2.11", "192.0.2.12"].map(|ip| ip.parse::<IpAddr>().unwrap());
        sh("ip addr add 192.0.2.10/24 dev v0 && ip addr add 192.0.2.12/32 dev v0").unwrap();
        let driver = Netlink::start(NetlinkConfig::new("v0")).await.unwrap();
        let claim = driver.claim(held, &[25]).await.unwrap();
        driver.release_all(&[stale, held]).await.unwrap();
        assert!(!sh("ip addr show dev v0").unwrap().contains("192.0.2.10/"), "the leftover is there");
        assert!(shown(held).is_some() && shown(foreign).is_some());
        drop(claim);
    });
}

#[test]
fn what_cannot_be_claimed_is_an_error_and_leaves_nothing() {
    if !inside("what_cannot_be_claimed_is_an_error_and_leaves_nothing") {
        return;
    }
    run(async {
        let error = Netlink::start(NetlinkConfig::new("nope0")).await.err().unwrap();
        assert!(matches!(&error, ClaimError::Interface { interface, .. } if interface == "nope0"), "{error}");
        let error = Netlink::start(NetlinkConfig::new("lo")).await.err().unwrap();
        assert!(error.to_string().contains("no Ethernet address"), "{error}");
        let driver = Netlink::start(NetlinkConfig::new("v0")).await.unwrap();
        let _other_program = std::net::TcpListener::bind("0.0.0.0:25").unwrap();
        let ip = "192.0.2.10".parse().unwrap();
        let error = driver.claim(ip, &[25]).await.unwrap_err();
        assert!(matches!(error, ClaimError::PortInUse { .. }), "{error}");
        wait_until("a failed claim is released", || shown(ip).is_none()).await;
        let waiting = tokio::time::timeout(Duration::from_millis(100), driver.claim(ip, &[25])).await;
        assert!(waiting.is_err(), "still in use");
        wait_until("a cancelled claim is released", || shown(ip).is_none()).await;
    });
}

#[test]
fn a_stopped_and_a_killed_owner_lose_the_address_without_doing_anything() {
    const TEST: &str = "a_stopped_and_a_killed_owner_lose_the_address_without_doing_anything";
    const OWNER: &str = "POSTHASTE_VIP_OWNER";
    let ip: IpAddr = "192.0.2.10".parse().unwrap();
    if std::env::var_os(OWNER).is_some() {
        return run(async {
            let driver = Netlink::start(NetlinkConfig::new("v0")).await.unwrap();
            let _claim = driver.claim(ip, &[25]).await.unwrap();
            std::future::pending().await
        });
    }
    if !inside(TEST) {
        return;
    }
    run(async move {
        for signal in ["STOP", "KILL"] {
            let mut owner = Command::new(std::env::current_exe().unwrap());
            owner.args(["--exact", &format!("netlink::{TEST}")]).env(OWNER, "1");
            let mut owner = owner.spawn().unwrap();
            wait_until("the owner has it", || shown(ip).is_some()).await;
            sh(&format!("kill -{signal} {}", owner.id())).unwrap();
            wait_until("the kernel takes it", || shown(ip).is_none()).await;
            owner.kill().unwrap();
            owner.wait().unwrap();
        }
    });
}
