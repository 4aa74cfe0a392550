//! What NFS needs that a local file system does not.

use std::time::Duration;

use rustix::io::Errno;

/// How often a call that found a stale handle is tried again.
const TRIES: usize = 10;
const PAUSE: Duration = Duration::from_millis(10);

/// Does something; on NFS again, if another client made the handle stale under our hands.
pub(super) fn patient<T>(nfs: bool, act: impl Fn() -> Result<T, Errno>) -> Result<T, Errno> {
    let mut result = act();
    for _ in 0..if nfs { TRIES } else { 0 } {
        match result {
            Err(Errno::STALE) => {
                std::thread::sleep(PAUSE);
                result = act();
            }
            other => return other,
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_stale_handle_is_tried_again_on_nfs_only() {
        let calls = Cell::new(0);
        let stale_twice = || {
            calls.set(calls.get() + 1);
            if calls.get() < 3 { Err(Errno::STALE) } else { Ok(()) }
        };
        assert_eq!(patient(true, stale_twice), Ok(()));
        assert_eq!(patient(false, || Err::<(), _>(Errno::STALE)), Err(Errno::STALE));
        assert_eq!(patient(true, || Err::<(), _>(Errno::NOENT)), Err(Errno::NOENT));
    }
}
