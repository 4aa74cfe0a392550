//! Disks that hang, and copies that are lost while they rejoin.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use posthaste_mail_cluster::demo::cluster::{A, B};
use posthaste_mail_cluster::demo::operator::Goal;

use crate::house::{House, ON_FIRST, ON_SECOND, block_on};

/// A file system of its own on a loop device; thawed and unmounted when it goes.
struct Disk(PathBuf);

impl Disk {
    /// Where a node's volumes are to be; `None` where that is not possible and may be skipped.
    fn for_volumes(house: &House, node: usize) -> Option<Self> {
        let image = house.cluster.directory().join("disk");
        Self::mount(&image, &house.data(node).join("volumes"), 128 << 20)
            .inspect_err(|why| {
                assert!(std::env::var("POSTHASTE_REQUIRE").as_deref() != Ok("all"), "cannot mount: {why}");
                eprintln!("skipped: cannot mount a disk of its own: {why}");
            })
            .ok()
    }

    fn mount(image: &Path, at: &Path, bytes: u64) -> Result<Self, String> {
        std::fs::create_dir_all(at).map_err(|e| format!("{}: {e}", at.display()))?;
        File::create(image).and_then(|file| file.set_len(bytes)).map_err(|e| e.to_string())?;
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(image))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(image).arg(at))?;
        Ok(Self(at.to_owned()))
    }

    /// From here on every write and flush waits.
    fn hang(&self) {
        run(Command::new("fsfreeze").arg("-f").arg(&self.0)).expect("it can be frozen");
    }

    fn go_on(&self) {
        run(Command::new("fsfreeze").arg("-u").arg(&self.0)).expect("it is frozen");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("fsfreeze").arg("-u").arg(&self.0).stderr(std::process::Stdio::null()).status();
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let ended = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    match ended.status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&ended.stderr).trim())),
    }
}

#[test]
fn a_copy_whose_disk_hangs_is_left_out_and_returns_when_it_answers() {
    let mut house = House::lay(32);
    let Some(disk) = Disk::for_volumes(&house, B) else { return };
    block_on(async {
        house.begin().await;
        for round in 0..2 {
            house.deliver(A, &format!("before-{round}"), ON_FIRST).await;
            disk.hang();
            // Its node lives, beats and votes: only its disk does not answer.
            house.deliver(A, &format!("hung-{round}"), ON_FIRST).await;
            disk.go_on();
            house.wait(Goal::AtHome).await;
            house.deliver(B, &format!("after-{round}"), ON_SECOND).await;
        }
        assert!(house.audit().await >= 12);
        house.verify().await;
        for member in [A, B] {
            house.kill(member);
        }
    });
    drop(disk);
}

#[test]
fn a_node_that_dies_again_and_again_while_it_rejoins_leaves_nobody_waiting() {
    block_on(async {
        let mut house = House::start(32).await;
        for round in 0..8 {
            house.kill(B);
            house.deliver(A, &format!("away-{round}"), round % 4).await;
            house.run(B);
            // Somewhere between its start and its return to the set.
            tokio::time::sleep(Duration::from_millis(150 * round as u64)).await;
        }
        house.kill(B);
        house.deliver(A, "alone", ON_SECOND).await;
        house.run(B);
        house.wait(Goal::AtHome).await;
        assert!(house.audit().await >= 18);
    });
}

#[test]
fn a_leader_whose_disk_hangs_gives_its_volume_up() {
    let mut house = House::lay(32);
    let Some(disk) = Disk::for_volumes(&house, B) else { return };
    house.edit_config(B, "disk_ms = 20000", "disk_ms = 3000");
    block_on(async {
        house.begin().await;
        house.deliver(B, "before", ON_SECOND).await;
        disk.hang();
        // Whoever is being served when it hangs has no answer; the next one is served by the other node.
        let waiting = house.send(B, "while", b"Subject: x\r\n\r\nx\r\n", ON_SECOND);
        let later = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            house.deliver(B, "hung-b", ON_SECOND).await;
            house.deliver(A, "hung-a", ON_SECOND).await;
        };
        let (_, ()) = tokio::join!(waiting, later);
        house.logged(B, &["the disk has failed", "has not answered"]).await;
        disk.go_on();
        house.kill(B);
        house.run(B);
        house.wait(Goal::AtHome).await;
        assert!(house.audit().await >= 6);
        house.verify().await;
        for member in [A, B] {
            house.kill(member);
        }
    });
    drop(disk);
}
