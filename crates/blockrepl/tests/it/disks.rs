//! Every disk of the crate, by the suite that ships with the trait; and what only files and devices can do.

use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use posthaste_blockrepl::disk::conformance;
use posthaste_blockrepl::{DirectDisk, Disk, FileDisk, MemDisk, VolatileDisk};
use tempfile::TempDir;

/// Where `O_DIRECT` works: not on a tmpfs of older systems.
fn dir() -> TempDir {
    TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// New files, one after the other.
fn blanks(dir: &Path) -> impl Fn() -> std::path::PathBuf {
    let (dir, next) = (dir.to_owned(), AtomicUsize::new(0));
    move || {
        let path = dir.join(next.fetch_add(1, Ordering::Relaxed).to_string());
        drop(FileDisk::create(&path, conformance::SIZE).unwrap());
        path
    }
}

#[test]
fn memory_and_volatile_disks_conform() {
    conformance::check(&|| Arc::new(MemDisk::new(conformance::SIZE)));
    conformance::check(&|| Arc::new(VolatileDisk::new(Arc::new(MemDisk::new(conformance::SIZE)))));
    let below = Arc::new(MemDisk::new(conformance::SIZE));
    conformance::check_reopen(&|| Arc::new(VolatileDisk::new(below.clone())));
}

#[test]
fn a_file_conforms() {
    let dir = dir();
    let blank = blanks(dir.path());
    conformance::check(&|| Arc::new(FileDisk::open(&blank()).unwrap()));
    let path = blank();
    conformance::check_reopen(&|| Arc::new(FileDisk::open(&path).unwrap()));
}

#[test]
fn a_file_past_the_page_cache_conforms() {
    let dir = dir();
    let blank = blanks(dir.path());
    if skip("O_DIRECT", DirectDisk::open(&blank()).err().map(|e| e.to_string())) {
        return;
    }
    conformance::check(&|| Arc::new(DirectDisk::open(&blank()).unwrap()));
    let path = blank();
    conformance::check_reopen(&|| Arc::new(DirectDisk::open(&path).unwrap()));
    // The two ways see the same bytes.
    let (path, data) = (blank(), [7; 5000]);
    DirectDisk::open(&path).unwrap().write_at(1, &data).unwrap();
    let mut seen = [0; 5000];
    FileDisk::open(&path).unwrap().read_at(1, &mut seen).unwrap();
    assert_eq!(seen, data);
    let odd = dir.path().join("odd");
    drop(FileDisk::create(&odd, 5000).unwrap());
    assert_eq!(DirectDisk::open(&odd).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn zeros_are_marked_and_not_written_and_their_blocks_are_kept_or_freed() {
    use std::os::unix::fs::MetadataExt;
    let dir = dir();
    let blank = blanks(dir.path());
    type Open = fn(&Path) -> std::io::Result<Box<dyn Disk>>;
    let open: [Open; 2] = [
        |path| FileDisk::open(path).map(|d| Box::new(d) as _),
        |path| DirectDisk::open(path).map(|d| Box::new(d) as _),
    ];
    for open in open {
        let path = blank();
        let Ok(disk) = open(&path) else { continue };
        let blocks = || {
            disk.flush().unwrap();
            path.metadata().unwrap().blocks() * 512
        };
        disk.write_at(0, &vec![5; conformance::SIZE as usize]).unwrap();
        let all = blocks();
        assert!(disk.zeros_in(0..conformance::SIZE, 9).is_empty());
        disk.zero(1 << 20, 1 << 20, false).unwrap();
        let kept = blocks();
        let zeros = |most: usize| -> Vec<(u64, u64)> {
            let found = disk.zeros_in(0..conformance::SIZE, most);
            found.into_iter().map(|r| (r.start, r.end)).collect()
        };
        let marked = zeros(9);
        if skip("zeroing without writing", marked.is_empty().then(|| "this file system".into())) {
            return;
        }
        assert_eq!(marked, [(1 << 20, 2 << 20)]);
        assert!(kept >= all, "{kept} bytes of {all} are allocated: a later write might find no room (R11)");
        disk.zero(2 << 20, 1 << 20, true).unwrap();
        assert!(blocks() + (1 << 20) <= kept, "nothing was freed");
        assert_eq!(zeros(9), [(1 << 20, 3 << 20)]);
        assert_eq!(zeros(0), []);
    }
}

#[test]
fn a_raw_device_conforms() {
    let dir = dir();
    let path = blanks(dir.path())();
    let made = Command::new("losetup").args(["--find", "--show"]).arg(&path).output();
    let device = match &made {
        Ok(out) if out.status.success() => Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned()),
        Ok(out) => Err(String::from_utf8_lossy(&out.stderr).into_owned()),
        Err(e) => Err(e.to_string()),
    };
    if skip("a loop device (it needs root)", device.as_ref().err().cloned()) {
        return;
    }
    let device = Loop(device.unwrap());
    let wiped = || {
        let disk = FileDisk::open(Path::new(&device.0)).unwrap();
        disk.write_at(0, &vec![0; conformance::SIZE as usize]).unwrap();
        disk.flush().unwrap();
    };
    conformance::check(&|| {
        wiped();
        Arc::new(FileDisk::open(Path::new(&device.0)).unwrap())
    });
    conformance::check(&|| {
        wiped();
        Arc::new(DirectDisk::open(Path::new(&device.0)).unwrap())
    });
    conformance::check_reopen(&|| Arc::new(DirectDisk::open(Path::new(&device.0)).unwrap()));
}

struct Loop(String);

impl Drop for Loop {
    fn drop(&mut self) {
        drop(Command::new("losetup").args(["--detach", &self.0]).status());
    }
}

/// Whether a test is left out for want of something.
fn skip(what: &str, missing: Option<String>) -> bool {
    let Some(why) = missing else { return false };
    let required = std::env::var("POSTHASTE_REQUIRE").is_ok_and(|which| which == "all");
    assert!(!required, "{what} is missing, and POSTHASTE_REQUIRE=all: {why}");
    eprintln!("skipped: {what} is missing: {why}");
    true
}

#[test]
fn a_file_that_was_cut_gives_an_error_and_no_zeros() {
    let dir = dir();
    let path = blanks(dir.path())();
    let disk = FileDisk::open(&path).unwrap();
    disk.write_at(0, &[1; 8192]).unwrap();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(4096).unwrap();
    let short = disk.read_at(0, &mut [0; 8192]).unwrap_err();
    assert_eq!(short.kind(), ErrorKind::UnexpectedEof);
    assert_eq!(disk.size().unwrap(), 4096);
}

#[test]
fn a_file_for_which_there_is_no_room_leaves_nothing_behind() {
    let dir = dir();
    let path = dir.path().join("too large");
    let refused = FileDisk::create(&path, 1 << 60).unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::StorageFull | ErrorKind::FileTooLarge), "{refused}");
    assert!(!path.exists());
}

#[test]
fn a_disk_in_use_is_refused_to_a_second_opener() {
    let dir = dir();
    let path = blanks(dir.path())();
    let held = FileDisk::open(&path).unwrap();
    assert_eq!(FileDisk::open(&path).unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(held);
    FileDisk::open(&path).unwrap();
}

/// A disk whose flushes fail from now on, as a real one would after the first.
#[derive(Debug)]
struct Failing(MemDisk);

impl Disk for Failing {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
        self.0.read_at(offset, buf)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.0.write_at(offset, data)
    }
    fn flush(&self) -> std::io::Result<()> {
        Err(ErrorKind::Other.into())
    }
    fn size(&self) -> std::io::Result<u64> {
        self.0.size()
    }
}

#[test]
fn a_failed_flush_stays_failed_below_the_test_disk_too() {
    let below = Arc::new(Failing(MemDisk::new(conformance::SIZE)));
    conformance::check_failed_flush(&VolatileDisk::new(below));
}
