//! The device as the clients hold it: the same one while its leader changes.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use posthaste_blockrepl::{BlockDevice, DeviceError};

/// Passes calls to the handle of the moment. When that one's leadership ends, calls wait for the next handle, and those that
/// were not answered are done again by it. It ends itself rather than lose a write that was answered.
#[derive(Debug)]
pub(crate) struct Switch {
    state: Mutex<State>,
    changed: Condvar,
    /// A write is answered when it is on both disks. Then none is lost with its handle.
    write_through: bool,
    /// Whether there may be a next handle.
    lasting: bool,
    size: AtomicU64,
    epoch: AtomicU64,
}

#[derive(Debug)]
struct State {
    now: Now,
    /// Calls under way.
    users: usize,
    /// Writes that were answered, and how many of them a flush has covered.
    written: u64,
    flushed: u64,
}

#[derive(Debug)]
enum Now {
    On(Arc<dyn BlockDevice>),
    /// Since when.
    Held(Instant),
    Ended(DeviceError),
}

impl Switch {
    pub(crate) fn new(device: Arc<dyn BlockDevice>, write_through: bool, lasting: bool) -> Self {
        let (size, epoch) = (device.size().into(), device.epoch().into());
        let state = State { now: Now::On(device), users: 0, written: 0, flushed: 0 };
        Switch { state: Mutex::new(state), changed: Condvar::new(), write_through, lasting, size, epoch }
    }

    /// Calls go on with `device`. False: it has ended, for the former handle may have lost writes that were answered.
    pub(crate) fn put(&self, device: Arc<dyn BlockDevice>) -> bool {
        let mut state = self.state();
        if state.has_unflushed() && !matches!(state.now, Now::On(_)) {
            state.now = Now::Ended(fenced(self.epoch()));
        }
        let alive = !matches!(state.now, Now::Ended(_));
        if alive {
            self.size.store(device.size(), Ordering::Release);
            self.epoch.store(device.epoch(), Ordering::Release);
            state.now = Now::On(device);
        }
        self.changed.notify_all();
        alive
    }

    /// Every call fails from now on, for ever.
    pub(crate) fn end(&self, why: DeviceError) {
        let mut state = self.state();
        if !matches!(state.now, Now::Ended(_)) {
            state.now = Now::Ended(why);
        }
        self.changed.notify_all();
    }

    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.state().now, Now::Ended(_))
    }

    /// For how long calls have waited for a handle.
    pub(crate) fn held(&self) -> Option<Duration> {
        match self.state().now {
            Now::Held(since) => Some(since.elapsed()),
            _ => None,
        }
    }

    /// Calls wait from now on. Gives the handle, once all that were under way are answered; `None` when that takes too
    /// long, and then it goes on as before. Blocks the thread.
    pub(crate) fn drain(&self, patience: Duration) -> Option<Arc<dyn BlockDevice>> {
        let until = Instant::now() + patience;
        let mut state = self.state();
        let Now::On(device) = &state.now else { return None };
        let device = device.clone();
        state.now = Now::Held(Instant::now());
        while state.users > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.now = Now::On(device);
                self.changed.notify_all();
                return None;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Some(device)
    }

    /// All that was written on the drained handle is durable.
    pub(crate) fn settled(&self) {
        let mut state = self.state();
        state.flushed = state.written;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self) -> Result<(Arc<dyn BlockDevice>, u64), DeviceError> {
        let mut state = self.state();
        loop {
            match &state.now {
                Now::On(device) => {
                    let device = device.clone();
                    state.users += 1;
                    return Ok((device, state.written));
                }
                Now::Ended(why) => return Err(why.clone()),
                Now::Held(_) => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn leave(&self, done: impl FnOnce(&mut State)) {
        let mut state = self.state();
        done(&mut state);
        state.users -= 1;
        if matches!(state.now, Now::Held(_)) {
            self.changed.notify_all();
        }
    }

    /// A handle's leadership is over.
    fn lost(&self, device: &Arc<dyn BlockDevice>, why: DeviceError) {
        let mut state = self.state();
        match &state.now {
            Now::On(now) if Arc::ptr_eq(now, device) => {}
            _ => return,
        }
        // Of a node that was left out nobody knows what became of its writes, and others went on meanwhile.
        let over = !self.lasting || state.has_unflushed() || matches!(why, DeviceError::Revoked { .. });
        state.now = if over { Now::Ended(why) } else { Now::Held(Instant::now()) };
        self.changed.notify_all();
    }

    fn run(
        &self,
        mut op: impl FnMut(&dyn BlockDevice) -> Result<(), DeviceError>,
        done: impl Fn(&mut State, &Arc<dyn BlockDevice>, u64),
    ) -> Result<(), DeviceError> {
        loop {
            let (device, written) = self.enter()?;
            let result = op(&*device);
            self.leave(|state| {
                if result.is_ok() {
                    done(state, &device, written);
                }
            });
            match result {
                Err(
                    why @ (DeviceError::Fenced { .. } | DeviceError::Failed(_) | DeviceError::Revoked { .. }),
                ) => {
                    self.lost(&device, why);
                }
                other => return other,
            }
        }
    }

    fn write(&self, op: impl Fn(&dyn BlockDevice) -> Result<(), DeviceError>) -> Result<(), DeviceError> {
        match self.write_through {
            true => self.run(|device| op(device).and_then(|()| device.flush()), |_, _, _| {}),
            false => self.run(op, State::wrote),
        }
    }
}

impl State {
    fn wrote(&mut self, device: &Arc<dyn BlockDevice>, _: u64) {
        self.written += 1;
        // Its handle is gone already, and may have taken it along.
        if matches!(&self.now, Now::On(now) if !Arc::ptr_eq(now, device)) {
            self.now = Now::Ended(fenced(device.epoch()));
        }
    }

    fn has_unflushed(&self) -> bool {
        self.written > self.flushed
    }
}

fn fenced(epoch: u64) -> DeviceError {
    DeviceError::Fenced { held: epoch, current: epoch + 1 }
}

impl BlockDevice for Switch {
    fn size(&self) -> u64 {
        match &self.state().now {
            Now::On(device) => device.size(),
            _ => self.size.load(Ordering::Acquire),
        }
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DeviceError> {
        self.run(|device| device.read_at(offset, buf), |_, _, _| {})
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), DeviceError> {
        self.write(|device| device.write_at(offset, data))
    }

    fn write_bytes(&self, offset: u64, data: Bytes) -> Result<(), DeviceError> {
        self.write(|device| device.write_bytes(offset, data.clone()))
    }

    fn zeros_in(&self, range: Range<u64>, most: usize) -> Vec<Range<u64>> {
        match &self.state().now {
            Now::On(device) => device.zeros_in(range, most),
            _ => Vec::new(),
        }
    }

    fn frees_discarded(&self) -> bool {
        matches!(&self.state().now, Now::On(device) if device.frees_discarded())
    }

    fn flush(&self) -> Result<(), DeviceError> {
        self.run(|device| device.flush(), |state, _, written| state.flushed = state.flushed.max(written))
    }

    fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    /// Counts what it was given, and fails when told to.
    #[derive(Debug, Default)]
    struct Fake {
        epoch: u64,
        writes: AtomicU64,
        flushes: AtomicU64,
        dead: AtomicBool,
        revoked: bool,
    }

    impl Fake {
        fn call(&self, counter: &AtomicU64) -> Result<(), DeviceError> {
            let epoch = self.epoch;
            match self.dead.load(Ordering::SeqCst) {
                true if self.revoked => Err(DeviceError::Revoked { epoch }),
                true => Err(fenced(epoch)),
                false => {
                    counter.fetch_add(1, Ordering::SeqCst);
                    Ok(())
                }
            }
        }
    }

    impl BlockDevice for Fake {
        fn size(&self) -> u64 {
            4096 * self.epoch
        }
        fn read_at(&self, _: u64, buf: &mut [u8]) -> Result<(), DeviceError> {
            buf.fill(self.epoch as u8);
            self.call(&AtomicU64::new(0))
        }
        fn write_at(&self, _: u64, _: &[u8]) -> Result<(), DeviceError> {
            self.call(&self.writes)
        }
        fn flush(&self) -> Result<(), DeviceError> {
            self.call(&self.flushes)
        }
        fn epoch(&self) -> u64 {
            self.epoch
        }
    }

    fn fake(epoch: u64) -> Arc<Fake> {
        Arc::new(Fake { epoch, ..Fake::default() })
    }

    #[test]
    fn a_call_that_was_not_answered_is_done_by_the_next_handle() {
        let (one, two) = (fake(1), fake(2));
        let switch = Arc::new(Switch::new(one.clone(), true, true));
        switch.write_at(0, b"x").unwrap();
        one.dead.store(true, Ordering::SeqCst);
        let waiting = std::thread::spawn({
            let switch = switch.clone();
            move || switch.write_at(0, b"y")
        });
        while switch.held().is_none() {
            std::thread::yield_now();
        }
        assert!(switch.put(two.clone()));
        assert_eq!(waiting.join().unwrap(), Ok(()));
        let counts = |f: &Fake| (f.writes.load(Ordering::SeqCst), f.flushes.load(Ordering::SeqCst));
        assert_eq!((counts(&one), counts(&two)), ((1, 1), (1, 1)));
        assert_eq!((switch.size(), switch.epoch()), (8192, 2));
    }

    #[test]
    fn what_was_answered_and_not_flushed_is_not_lost_in_silence() {
        let one = fake(1);
        let switch = Switch::new(one.clone(), false, true);
        switch.write_at(0, b"x").unwrap();
        switch.flush().unwrap();
        switch.write_at(0, b"y").unwrap();
        one.dead.store(true, Ordering::SeqCst);
        assert_eq!(switch.flush(), Err(fenced(1)));
        assert!(switch.has_ended() && !switch.put(fake(2)));
        // All of it flushed, it goes on.
        let one = fake(1);
        let switch = Switch::new(one.clone(), false, true);
        switch.write_at(0, b"x").unwrap();
        switch.flush().unwrap();
        one.dead.store(true, Ordering::SeqCst);
        assert!(switch.drain(Duration::ZERO).is_some() && switch.put(fake(2)));
        assert_eq!(switch.flush(), Ok(()));
    }

    #[test]
    fn one_that_was_left_out_and_one_that_does_not_last_end_at_once() {
        let left_out = Arc::new(Fake { epoch: 1, dead: true.into(), revoked: true, ..Fake::default() });
        let switch = Switch::new(left_out, true, true);
        assert_eq!(switch.write_at(0, b"x"), Err(DeviceError::Revoked { epoch: 1 }));
        let one = fake(1);
        one.dead.store(true, Ordering::SeqCst);
        let switch = Switch::new(one, true, false);
        assert_eq!(switch.read_at(0, &mut [0]), Err(fenced(1)));
        assert!(switch.has_ended());
    }

    #[test]
    fn a_drained_one_holds_its_calls_until_it_ends() {
        let switch = Arc::new(Switch::new(fake(1), true, true));
        assert!(switch.drain(Duration::ZERO).is_some() && switch.drain(Duration::ZERO).is_none());
        let waiting = std::thread::spawn({
            let switch = switch.clone();
            move || switch.flush()
        });
        switch.end(fenced(7));
        assert_eq!(waiting.join().unwrap(), Err(fenced(7)));
    }
}
