//! A volume's files that are not what they should be: refused by their identity, never overwritten.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use posthaste_mail_cluster::demo::cluster::{A, B, WITNESS};

use crate::house::{House, ON_FIRST, ON_SECOND, block_on};

/// Enough of a file to see that nobody wrote to it: its length, and every byte by a checksum.
#[derive(Debug, PartialEq, Eq)]
struct Print(Vec<(PathBuf, u64, u32)>);

impl Print {
    fn of(dir: &Path) -> Self {
        let mut all = Vec::new();
        for volume in ["vol1", "vol2"] {
            for file in ["data", "meta", "device"] {
                let path = dir.join(volume).join(file);
                let bytes = fs::read(&path).unwrap_or_default();
                all.push((path, bytes.len() as u64, crc32fast::hash(&bytes)));
            }
        }
        Self(all)
    }
}

/// Starts node a, which must end with code 1 and say this, and touch nothing.
async fn refuses(house: &mut House, parts: &[&str]) {
    let volumes = house.data(A).join("volumes");
    let (before, seen) = (Print::of(&volumes), house.log(A).len());
    house.run(A);
    let status = house.end_of(A).await;
    let said = house.log(A)[seen..].to_owned();
    assert_eq!(status.code(), Some(1), "{said}");
    let line = said.lines().find(|line| line.starts_with("posthaste: ")).unwrap_or_else(|| panic!("{said}"));
    parts.iter().for_each(|part| assert!(line.contains(part), "no {part:?} in: {line}"));
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
                refuses(&mut house, &["volume vol1", name, "truncated"]).await;
                mend(&one.join(file), len, &tail);
            }
            swap(&one.join(file), &two.join(file));
            refuses(&mut house, &["volume vol1", name, "belongs to"]).await;
            swap(&one.join(file), &two.join(file));
        }
        swap(&one, &two);
        refuses(&mut house, &["volume vol1", "belongs to volume"]).await;
        swap(&one, &two);

        // The same volume's copy of the other node.
        let other = house.data(B).join("volumes").join("vol1");
        swap(&one.join("data"), &other.join("data"));
        refuses(&mut house, &["volume vol1", "data file", "belongs to node"]).await;
        swap(&one.join("data"), &other.join("data"));
        fs::rename(one.join("data"), dir.join("kept")).unwrap();
        refuses(&mut house, &["volume vol1", "data"]).await;
        fs::rename(dir.join("kept"), one.join("data")).unwrap();

        // With its files back in place everything is as it was.
        for member in [A, B, WITNESS] {
            house.run(member);
        }
        house.wait(posthaste_mail_cluster::demo::operator::Goal::AtHome).await;
        assert!(house.audit().await >= 4);
    });
}
