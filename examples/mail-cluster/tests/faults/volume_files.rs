//! A volume's files that are not what they should be: refused by their identity, never overwritten.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use posthaste_mail_cluster::demo::cluster::{A, B, WITNESS};
use posthaste_mail_cluster::demo::operator::Goal;

use crate::house::{House, ON_FIRST, ON_SECOND, block_on, until, until_some};

/// Enough of a volume's files to see that nobody wrote to them: their lengths, and every byte by a checksum.
#[derive(Debug, PartialEq, Eq)]
struct Print(Vec<(PathBuf, u64, u32)>);

impl Print {
    fn of(volumes: &[PathBuf]) -> Self {
        let files = volumes.iter().flat_map(|dir| ["data", "meta", "device"].map(|file| dir.join(file)));
        let print = |path: PathBuf| {
            let bytes = fs::read(&path).unwrap_or_default();
            (path, bytes.len() as u64, crc32fast::hash(&bytes))
        };
        Self(files.map(print).collect())
    }
}

/// Starts node a, which must go on without these volumes, say this of the first, and touch none of them.
async fn refuses(house: &mut House, volumes: &[&PathBuf], parts: &[&str]) {
    let volumes: Vec<PathBuf> = volumes.iter().map(PathBuf::from).collect();
    let (before, seen) = (Print::of(&volumes), house.log(A).len());
    house.run(A);
    let said = until_some("status to say what is wrong", async || {
        let output = house.command(A, &["status"]).await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        said.lines()
            .find(|line| line.contains("waiting: vol1: the copy on a cannot be used"))
            .map(str::to_owned)
    })
    .await;
    parts.iter().for_each(|part| assert!(said.contains(part), "no {part:?} in: {said}"));
    let log = house.log(A)[seen..].to_owned();
    let line = log.lines().find(|line| line.contains("ERROR")).unwrap_or_else(|| panic!("{log}"));
    parts.iter().for_each(|part| assert!(line.contains(part), "no {part:?} in: {line}"));
    house.kill(A);
    assert_eq!(Print::of(&volumes), before, "a refused volume was written to");
}

fn swap(one: &Path, other: &Path) {
    let aside = one.with_extension("aside");
    fs::rename(one, &aside).unwrap();
    fs::rename(other, one).unwrap();
    fs::rename(&aside, other).unwrap();
}

fn cut(path: &Path, len: u64) -> Vec<u8> {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let whole = file.metadata().unwrap().len();
    let mut tail = vec![0; usize::try_from(whole - len).unwrap()];
    file.read_exact_at(&mut tail, len).unwrap();
    file.set_len(len).unwrap();
    tail
}

fn mend(path: &Path, len: u64, tail: &[u8]) {
    File::options().write(true).open(path).unwrap().write_all_at(tail, len).unwrap();
}

#[test]
fn a_volume_file_that_is_truncated_or_of_another_volume_or_node_is_refused_and_not_overwritten() {
    block_on(async {
        let mut house = House::start(32).await;
        house.deliver(A, "first", ON_FIRST).await;
        house.deliver(A, "second", ON_SECOND).await;
        for member in [A, B, WITNESS] {
            house.kill(member);
        }
        let dir = house.data(A).join("volumes");
        let (one, two) = (dir.join("vol1"), dir.join("vol2"));

        for (file, name) in [("data", "data file"), ("meta", "metadata file")] {
            let whole = fs::metadata(one.join(file)).unwrap().len();
            for len in [whole - 4096, 100, 0] {
                let tail = cut(&one.join(file), len);
                refuses(&mut house, &[&one], &["vol1", name, "truncated"]).await;
                mend(&one.join(file), len, &tail);
            }
            swap(&one.join(file), &two.join(file));
            refuses(&mut house, &[&one, &two], &["vol1", name, "belongs to"]).await;
            swap(&one.join(file), &two.join(file));
        }
        swap(&one, &two);
        refuses(&mut house, &[&one, &two], &["vol1", "belongs to volume"]).await;
        swap(&one, &two);

        // The same volume's copy of the other node.
        let other = house.data(B).join("volumes").join("vol1");
        swap(&one.join("data"), &other.join("data"));
        refuses(&mut house, &[&one], &["vol1", "data file", "belongs to node"]).await;
        swap(&one.join("data"), &other.join("data"));
        fs::rename(one.join("data"), dir.join("kept")).unwrap();
        refuses(&mut house, &[&one], &["vol1", "data"]).await;
        fs::rename(dir.join("kept"), one.join("data")).unwrap();

        // With its files back in place everything is as it was.
        for member in [A, B, WITNESS] {
            house.run(member);
        }
        house.wait(Goal::AtHome).await;
        house.deliver_by_both("after").await;
        assert!(house.audit().await >= 8);
    });
}

#[test]
fn a_node_with_an_unreadable_volume_file_votes_and_serves_all_the_same_and_never_leads_that_volume() {
    block_on(async {
        let mut house = House::start(32).await;
        house.deliver(A, "before", ON_FIRST).await;
        house.kill(A);
        // Led by b alone from now on: what it acknowledges, the copy of a does not have.
        house.deliver(B, "without-a", ON_FIRST).await;
        let data = house.data(A).join("volumes").join("vol1").join("data");
        let tail = cut(&data, 4096);
        house.run(A);
        house.logged(A, &["ERROR", "vol1", "truncated"]).await;
        // Its second volume comes back into step, by its own vote and that of b.
        house.kill(WITNESS);
        until("vol2 in sync on both nodes", async || {
            let output = house.command(B, &["status"]).await;
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            said.lines().any(|line| {
                line.starts_with("vol2") && line.contains("a (in sync)") && line.contains("b (in sync)")
            })
        })
        .await;
        for to in [ON_FIRST, ON_SECOND] {
            house.deliver(A, &format!("by-a-{to}"), to).await;
        }
        house.audit().await;
        // With its file mended, the copy is brought up to date and leads again.
        house.run(WITNESS);
        house.kill(A);
        mend(&data, 4096, &tail);
        house.run(A);
        house.wait(Goal::AtHome).await;
        house.deliver_by_both("after").await;
        assert!(house.audit().await >= 12);
    });
}
