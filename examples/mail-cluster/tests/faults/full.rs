//! No space: in a volume, and in the file system that holds a node's files.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use posthaste_mail_cluster::demo::client::{ClientError, ImapClient, UidSet};
use posthaste_mail_cluster::demo::cluster::{A, B, WITNESS};
use posthaste_mail_cluster::demo::operator::Goal;

use crate::house::{Dialogue, House, ON_FIRST, ON_SECOND, block_on, until};

/// Another user of the first volume, whose mail fills it.
const HOARDER: usize = 2;

/// One letter to the hoarder, outside the book: its reply.
async fn heap(house: &House, via: usize, bytes: usize) -> String {
    let mut dialogue = Dialogue::open(house, via).await;
    let to = &house.person(HOARDER).address;
    for (line, code) in
        [("MAIL FROM:<s@client.example>", "250 "), (&format!("RCPT TO:<{to}>"), "250 "), ("DATA", "354 ")]
    {
        let reply = dialogue.ask(line).await;
        assert!(reply.starts_with(code), "{line}: {reply}");
    }
    let line = format!("{}\r\n", "x".repeat(998));
    dialogue.ask(&format!("Subject: heap\r\n\r\n{}.", line.repeat(bytes / line.len()))).await
}

/// Delivers to the hoarder, ever smaller letters, until even a small one gets its 452. Returns how many
/// got their 250.
async fn fill(house: &House) -> u32 {
    let mut kept = 0;
    for bytes in [1 << 20, 100_000, 2_000] {
        loop {
            let reply = heap(house, A, bytes).await;
            if reply.starts_with("250 ") {
                kept += 1;
                assert!(kept < 500, "a volume of 32 MiB does not become full");
                continue;
            }
            assert!(reply.starts_with("452 4.3.1 "), "{reply}");
            break;
        }
    }
    kept
}

/// Reads all that the hoarder has.
async fn reads_go_on(house: &House, via: usize, count: u32) {
    let mut session = house.login(via, HOARDER).await;
    assert_eq!(session.select("INBOX").await.expect("SELECT goes on").exists, count);
    let read = session.fetch(UidSet::All).await.expect("FETCH goes on");
    assert_eq!(read.len(), count as usize);
    assert!(read.iter().all(|m| m.body.ends_with(b"xxx\r\n")));
}

async fn run(session: &mut ImapClient, command: &str) -> Result<(), ClientError> {
    let tag = session.send_only(command).await?;
    session.answer_to(&tag).await
}

/// Throws the hoarder's mail away.
async fn make_room(house: &House, via: usize) {
    let mut session = house.login(via, HOARDER).await;
    session.select("INBOX").await.expect("SELECT goes on");
    run(&mut session, "UID STORE 1:* +FLAGS.SILENT (\\Deleted)").await.expect("STORE on a full volume");
    run(&mut session, "EXPUNGE").await.expect("EXPUNGE on a full volume");
}

#[test]
fn a_full_volume_answers_452_reads_go_on_and_it_recovers_when_mail_is_deleted() {
    block_on(async {
        let mut house = House::start(32).await;
        house.deliver(A, "before", ON_FIRST).await;
        let kept = fill(&house).await;
        reads_go_on(&house, A, kept).await;
        reads_go_on(&house, B, kept).await;
        // The other volume and the quorum do not notice.
        house.deliver(A, "elsewhere", ON_SECOND).await;
        let output = house.command(A, &["user", "del", &house.person(3).address.clone()]).await;
        assert!(output.status.success(), "{output:?}");

        make_room(&house, A).await;
        until("a delivery after mail was deleted", async || {
            heap(&house, B, 100_000).await.starts_with("250 ")
        })
        .await;

        // Full once more, and its leader dies: the next one opens a full volume.
        let kept = fill(&house).await + 1;
        house.kill(A);
        house.wait(Goal::AllOn(B)).await;
        reads_go_on(&house, B, kept).await;
        make_room(&house, B).await;
        house.deliver(B, "after", ON_FIRST).await;
        make_room(&house, B).await;
        house.run(A);
        house.wait(Goal::AtHome).await;
    });
}

/// A small file system of its own, unmounted when dropped.
struct Mount(PathBuf);

impl Mount {
    /// Mounts it, or says why that is not possible.
    fn new(at: &Path, bytes: u64) -> Result<Self, String> {
        std::fs::create_dir_all(at).map_err(|e| e.to_string())?;
        let size = format!("size={bytes},mode=0700");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "posthaste-test"]).arg(at).output();
        let mount = mount.map_err(|e| format!("there is no mount command: {e}"))?;
        if mount.status.success() {
            return Ok(Self(at.to_owned()));
        }
        Err(String::from_utf8_lossy(&mount.stderr).trim().to_owned())
    }

    /// Writes a file until nothing fits any more. Returns its path.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = File::create(&path).expect("room for an empty file");
        while file.write_all(&[0; 4096]).is_ok() {}
        assert!(std::fs::write(self.0.join("one-more"), [0; 4096]).is_err(), "it is not full");
        path
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_host_file_system_stops_neither_deliveries_nor_the_quorum() {
    let mut house = House::lay(32);
    // Two volumes of 32 MiB with their metadata, the quorum's log, and little else.
    let mount = match Mount::new(&house.data(A), 96 << 20) {
        Ok(mount) => mount,
        Err(why) => {
            assert!(std::env::var("POSTHASTE_REQUIRE").as_deref() != Ok("all"), "cannot mount: {why}");
            return eprintln!("skipped: cannot mount a small file system: {why}");
        }
    };
    block_on(async {
        house.begin().await;
        let filler = mount.fill();
        let one_more = house.cluster.directory().join("cluster/a/data/one-more");
        for round in 0..20 {
            house.deliver(round % 2, &format!("full-{round}"), round % 4).await;
        }
        for _ in 0..5 {
            let user = house.person(3).address.clone();
            for command in ["del", "add"] {
                change_user(&house, command, &user).await;
            }
        }
        // It dies and starts again on the full file system, and catches up.
        house.kill(A);
        house.wait(Goal::AllOn(B)).await;
        house.deliver(B, "while-a-is-away", ON_FIRST).await;
        house.run(A);
        house.wait(Goal::AtHome).await;
        house.deliver(A, "again", ON_FIRST).await;
        assert!(std::fs::write(&one_more, [0; 4096]).is_err(), "it was not full all the time");
        std::fs::remove_file(filler).expect("the filler is there");
        house.deliver(A, "room", ON_FIRST).await;
        assert!(house.audit().await >= 46);
        for member in [A, B, WITNESS] {
            house.kill(member);
        }
    });
    drop(mount);
}

/// `posthaste user del|add`, with the password that the user had.
async fn change_user(house: &House, command: &str, user: &str) {
    use tokio::io::AsyncWriteExt;
    let mut program = tokio::process::Command::new(crate::house::posthaste());
    program.args(["user", command, user, "--config"]).arg(house.config(A)).args(if command == "add" {
        &["--volume", "vol2"][..]
    } else {
        &[]
    });
    program.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::null()).kill_on_drop(true);
    let mut child = program.spawn().expect("the program starts");
    let mut stdin = child.stdin.take().expect("piped");
    let _ = stdin.write_all(format!("{}\n", house.person(3).password).as_bytes()).await;
    drop(stdin);
    assert!(child.wait().await.expect("it ends").success(), "user {command} on a full file system");
}
