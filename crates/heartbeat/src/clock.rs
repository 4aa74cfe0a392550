//! The clock for adapters; the cores never read it.

use crate::Time;

/// Now, on `CLOCK_BOOTTIME` (R5: it counts suspend).
#[cfg(target_os = "linux")]
pub fn now() -> Time {
    use std::time::Duration;
    let ts = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let secs = u64::try_from(ts.tv_sec).unwrap_or(0);
    Time::from_boot(Duration::new(secs, u32::try_from(ts.tv_nsec).unwrap_or(0)))
}

/// Now, on the process's monotonic clock: no `CLOCK_BOOTTIME` here, so a suspended machine may
/// believe in a lease that is over. Good for development only.
#[cfg(not(target_os = "linux"))]
#[allow(clippy::disallowed_methods)]
pub fn now() -> Time {
    use std::sync::OnceLock;
    use std::time::{Duration, Instant};
    static START: OnceLock<Instant> = OnceLock::new();
    Time::from_boot(START.get_or_init(Instant::now).elapsed() + Duration::from_secs(1))
}
