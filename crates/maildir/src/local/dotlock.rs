//! Lock files as Dovecot takes them (`file-dotlock.c`): made exclusively, holding `pid:host`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{self, AtFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use super::at::{check_name, full_io, gone_is_fine, mtime_ns, set_mtime, system_time};
use super::inotify::Inotify;
use super::unnamed::{Unnamed, give_name};
use super::{LocalConfig, LocalDir};

/// How long others' lock files are respected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DotlockTimes {
    /// A lock of a dead process of this host is overridden once it is this old. Dovecot: 2 s.
    pub dead_after: Duration,
    /// A lock of another host, or one that cannot be read, is overridden when neither it nor the
    /// file it protects has changed for this long. Dovecot: 120 s.
    pub stale_after: Duration,
    /// Pause after overriding: another may be about to. Dovecot: 0.1–0.2 s.
    pub settle: Duration,
    /// First and longest pause between looks. Dovecot: 0.1 s and 3 s.
    pub poll: (Duration, Duration),
}

impl Default for DotlockTimes {
    fn default() -> Self {
        Self {
            dead_after: Duration::from_secs(2),
            stale_after: Duration::from_secs(120),
            settle: Duration::from_millis(150),
            poll: (Duration::from_millis(100), Duration::from_secs(3)),
        }
    }
}

/// How often a held lock is touched, at most.
const TOUCH_EVERY: Duration = Duration::from_secs(10);

/// A lock file of ours. Removed when dropped, if it is still ours.
#[derive(Debug)]
pub(super) struct Dotlock {
    dir: LocalDir,
    name: Vec<u8>,
    /// Open while the lock is held: its inode is then nobody else's.
    file: File,
    ino: u64,
    touched: std::sync::Mutex<Instant>,
}

/// Takes the lock file `name`; `TimedOut` after `wait`.
pub(super) fn take(
    dir: &LocalDir,
    name: &[u8],
    (config, unnamed): (&LocalConfig, &Unnamed),
    wait: Duration,
) -> io::Result<Dotlock> {
    let times = config.lock_times;
    let deadline = Instant::now() + wait;
    let mut pause = times.poll.0;
    let mut watch = Watch::default();
    let mut waiter = None;
    loop {
        match create(dir, name, config, unnamed) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            other => return other,
        }
        if let Some(seen) = look(dir, name)? {
            let quiet = watch.quiet_for(&seen);
            match verdict(&seen.holder, &config.host, seen.age, quiet, &times) {
                Verdict::Wait => {}
                Verdict::Override => {
                    override_lock(dir, name, &seen)?;
                    std::thread::sleep(times.settle);
                    continue;
                }
            }
        }
        if Instant::now() >= deadline {
            return Err(timed_out(name));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        waiter.get_or_insert_with(|| Waiter::new(dir, config)).wait(pause.min(left));
        pause = (pause * 3 / 2).min(times.poll.1);
    }
}

impl Dotlock {
    fn new(dir: &LocalDir, name: &[u8], file: File) -> io::Result<Self> {
        let ino = file.metadata()?.ino();
        let touched = std::sync::Mutex::new(Instant::now());
        Ok(Self { dir: dir.clone(), name: name.to_vec(), file, ino, touched })
    }

    /// Checks that nobody took the file over, and touches it when it is time.
    pub(super) fn refresh(&self) -> io::Result<()> {
        if !self.is_ours() {
            return Err(io::Error::other("the lock file was taken over by another process"));
        }
        let mut touched = self.touched.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if touched.elapsed() < TOUCH_EVERY {
            return Ok(());
        }
        *touched = Instant::now();
        set_mtime(&self.file, SystemTime::now())
    }

    fn is_ours(&self) -> bool {
        fs::statat(&self.dir.0.fd, &self.name[..], AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| stat.st_ino == self.ino)
    }
}

impl Drop for Dotlock {
    fn drop(&mut self) {
        if self.is_ours() {
            let _ = fs::unlinkat(&self.dir.0.fd, &self.name[..], AtFlags::empty());
        }
    }
}

/// Waits for a lock file to go: told by the kernel, where it can, and in any case for a time.
struct Waiter(Option<Inotify>);

impl Waiter {
    fn new(dir: &LocalDir, config: &LocalConfig) -> Self {
        Self(if config.nfs { None } else { Inotify::names(&[dir]).ok() })
    }

    fn wait(&self, pause: Duration) {
        match &self.0 {
            // An error here is no error of the lock: then it is a pause that ends early.
            Some(inotify) => drop(inotify.wait(pause)),
            None => std::thread::sleep(pause),
        }
    }
}

/// Who a lock file says holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Holder {
    /// A process of this host name, and whether it lives. Our own process counts as dead: other
    /// threads are kept out by other means, so what names us was left by a predecessor.
    Process { host: String, alive: bool },
    /// Empty, or not `pid:host`.
    Unreadable,
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Wait,
    Override,
}

/// The rules. `age` since the lock file's last change, `quiet` since we last saw the lock or the
/// protected file change.
fn verdict(holder: &Holder, me: &str, age: Duration, quiet: Duration, times: &DotlockTimes) -> Verdict {
    let stale = match holder {
        Holder::Process { host, alive } if host == me => !alive && age >= times.dead_after,
        Holder::Process { .. } | Holder::Unreadable => age >= times.stale_after && quiet >= times.stale_after,
    };
    if stale { Verdict::Override } else { Verdict::Wait }
}

/// A lock file as found.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    ino: u64,
    mtime_ns: i128,
    /// Of the protected file.
    target_ns: i128,
    age: Duration,
    holder: Holder,
}

/// Since when a foreign lock has not changed, by our own clock (its host's may be wrong).
#[derive(Debug, Default)]
struct Watch {
    last: Option<((u64, i128, i128), Instant)>,
}

impl Watch {
    /// The longer of what we watched and what the file times claim.
    fn quiet_for(&mut self, seen: &Seen) -> Duration {
        let key = (seen.ino, seen.mtime_ns, seen.target_ns);
        match &self.last {
            Some((last, since)) if *last == key => since.elapsed(),
            _ => {
                self.last = Some((key, Instant::now()));
                Duration::ZERO
            }
        }
    }
}

fn create(dir: &LocalDir, name: &[u8], config: &LocalConfig, unnamed: &Unnamed) -> io::Result<Dotlock> {
    if fs::statat(&dir.0.fd, name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let holder = format!("{}:{}", std::process::id(), config.host);
    let Some(mut file) = unnamed.make(dir)? else {
        return create_named(dir, name, config, &holder);
    };
    // Named when it is whole: nobody finds a lock that he may not read, or one that nobody holds.
    file.write_all(holder.as_bytes()).map_err(full_io)?;
    give_name(&file, dir, name)?;
    Dotlock::new(dir, name, file)
}

/// Where files cannot be made without a name.
fn create_named(dir: &LocalDir, name: &[u8], config: &LocalConfig, holder: &str) -> io::Result<Dotlock> {
    let mut file = dir.create(name, OFlags::WRONLY | OFlags::EXCL)?;
    let written = file.write_all(holder.as_bytes());
    let flushed = if config.nfs { file.sync_data() } else { Ok(()) };
    let lock = Dotlock::new(dir, name, file)?;
    written.and(flushed).map_err(full_io)?;
    // An old NFS server may have let two make the file: the one that is there has made it.
    match config.nfs && !lock.is_ours() {
        true => Err(io::ErrorKind::AlreadyExists.into()),
        false => Ok(lock),
    }
}

fn look(dir: &LocalDir, name: &[u8]) -> io::Result<Option<Seen>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match fs::openat(&dir.0.fd, name, flags, Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(Errno::NOENT) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let stat = fs::fstat(&file)?;
    let mut content = Vec::new();
    file.take(1024).read_to_end(&mut content)?;
    let changed = system_time(stat.st_mtime, stat.st_mtime_nsec as u32);
    Ok(Some(Seen {
        ino: stat.st_ino,
        mtime_ns: mtime_ns(&stat),
        target_ns: target_mtime(dir, name),
        age: SystemTime::now().duration_since(changed).unwrap_or_default(),
        holder: parse_holder(&content),
    }))
}

/// The time of the file that `<file>.lock` protects.
fn target_mtime(dir: &LocalDir, name: &[u8]) -> i128 {
    let target = name.strip_suffix(b".lock").filter(|target| check_name(target).is_ok());
    target
        .and_then(|target| fs::statat(&dir.0.fd, target, AtFlags::SYMLINK_NOFOLLOW).ok())
        .map_or(0, |stat| mtime_ns(&stat))
}

fn parse_holder(content: &[u8]) -> Holder {
    let parsed = std::str::from_utf8(content).ok().and_then(|text| {
        let (pid, host) = text.split_once(':')?;
        Some((pid.parse::<i32>().ok().filter(|pid| *pid > 0)?, host.to_owned()))
    });
    match parsed {
        Some((pid, host)) => Holder::Process { host, alive: is_alive(pid) },
        None => Holder::Unreadable,
    }
}

fn is_alive(pid: i32) -> bool {
    if u32::try_from(pid) == Ok(std::process::id()) {
        return false;
    }
    Pid::from_raw(pid).is_some_and(|pid| test_kill_process(pid) != Err(Errno::SRCH))
}

/// Removes the lock that was judged stale, unless it is another by now.
fn override_lock(dir: &LocalDir, name: &[u8], judged: &Seen) -> io::Result<()> {
    let unchanged =
        look(dir, name)?.is_some_and(|now| (now.ino, now.mtime_ns) == (judged.ino, judged.mtime_ns));
    if unchanged {
        tracing::warn!(lock = %name.escape_ascii(), holder = ?judged.holder, "overriding a stale lock file");
        gone_is_fine(fs::unlinkat(&dir.0.fd, name, AtFlags::empty()))?;
    }
    Ok(())
}

fn timed_out(name: &[u8]) -> io::Error {
    let message = format!("another program holds {} and does not let go", name.escape_ascii());
    io::Error::new(io::ErrorKind::TimedOut, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Duration = Duration::from_secs(500);
    const FRESH: Duration = Duration::from_secs(1);

    fn judge(content: &[u8], age: Duration, quiet: Duration) -> Verdict {
        verdict(&parse_holder(content), "here", age, quiet, &DotlockTimes::default())
    }

    /// A process that was, and is no more.
    fn dead_pid() -> u32 {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        child.id()
    }

    #[test]
    fn a_living_process_of_this_host_is_waited_for_however_old_its_lock() {
        assert_eq!(judge(b"1:here", OLD, OLD), Verdict::Wait);
    }

    #[test]
    fn a_dead_process_of_this_host_loses_its_lock_after_two_seconds() {
        let lock = format!("{}:here", dead_pid());
        assert_eq!(judge(lock.as_bytes(), FRESH, Duration::ZERO), Verdict::Wait);
        assert_eq!(judge(lock.as_bytes(), OLD, Duration::ZERO), Verdict::Override);
    }

    #[test]
    fn our_own_pid_was_left_by_a_predecessor() {
        let lock = format!("{}:here", std::process::id());
        assert_eq!(judge(lock.as_bytes(), OLD, Duration::ZERO), Verdict::Override);
    }

    #[test]
    fn a_foreign_or_unreadable_lock_falls_only_when_nothing_changed_for_two_minutes() {
        for lock in [&b"1:there"[..], b"", b"x", b"-5:here", b"0:here"] {
            assert_eq!(judge(lock, OLD, OLD), Verdict::Override, "{}", lock.escape_ascii());
            assert_eq!(judge(lock, FRESH, OLD), Verdict::Wait, "touched lately");
            assert_eq!(judge(lock, OLD, FRESH), Verdict::Wait, "the uidlist changed lately");
        }
    }
}
