//! How fast a peer is resynced: as fast as it goes while nobody writes; otherwise as fast as the leader's own
//! flushes bear, between a least and a most.

use std::time::Duration;

use crate::config::Config;

/// The rate is looked at this often.
const LOOK: Duration = Duration::from_millis(100);

/// While the leader is written to, the window is this many times smaller.
const BUSY: u64 = 8;

#[derive(Debug)]
pub(super) struct Pace {
    /// Bytes that are taken at a time.
    granule: u64,
    /// Bytes a second; `u64::MAX`: no limit.
    rate: u64,
    /// Bytes that may be read and sent now.
    credit: u64,
    filled: Duration,
    looked: Duration,
    /// Bytes since the last look.
    taken: u64,
    /// The longest delay since the last look.
    worst: Duration,
    /// The leader was written to since the last look.
    busy: bool,
    /// Nobody wrote between the last two looks, nor since.
    calm: bool,
    /// A place in what was sent, and when it was; its answer is awaited.
    probe: Option<(u64, Duration)>,
    /// When this resync began, and what it has copied, for as long as nothing held it up.
    free: Option<(Duration, u64)>,
}

impl Pace {
    pub(super) fn new(now: Duration, config: &Config, granule: u64) -> Self {
        Pace {
            granule,
            rate: config.resync_rate_max,
            credit: 0,
            filled: now,
            looked: now,
            taken: 0,
            worst: Duration::ZERO,
            busy: false,
            calm: true,
            probe: None,
            free: Some((now, 0)),
        }
    }

    /// The limit in force, in bytes a second.
    pub(super) fn rate(&self) -> Option<u64> {
        (self.rate != u64::MAX).then_some(self.rate)
    }

    /// The leader's owner writes or flushes.
    pub(super) fn foreground(&mut self) {
        (self.busy, self.calm) = (true, false);
        self.free = None;
    }

    /// Bytes that may be on their way to the peer's disk at once: few while there is somebody to wait behind them.
    pub(super) fn window(&self, config: &Config) -> u64 {
        match self.calm {
            true => config.resync_window_bytes,
            false => config.resync_window_bytes / BUSY,
        }
    }

    /// A flush or a copy took this long.
    pub(super) fn delayed(&mut self, by: Duration) {
        self.worst = self.worst.max(by);
    }

    /// Whether another granule may be read and sent now.
    pub(super) fn take(&mut self, now: Duration, config: &Config) -> bool {
        self.look(now, config);
        if self.rate != u64::MAX {
            self.free = None;
            let earned = (now - self.filled).as_secs_f64() * self.rate as f64;
            let most = (self.rate / 4).max(2 * self.granule);
            self.credit = (self.credit + earned as u64).min(most);
            self.filled = now;
            if self.credit < self.granule {
                return false;
            }
            self.credit -= self.granule;
        }
        self.taken += self.granule;
        if let Some((_, bytes)) = &mut self.free {
            *bytes += self.granule;
        }
        true
    }

    /// When the next granule may be sent, if it is the rate that forbids it.
    pub(super) fn due(&self) -> Option<Duration> {
        let missing =
            self.granule.saturating_sub(self.credit).checked_sub(1).filter(|_| self.rate != u64::MAX)?;
        Some(self.filled + Duration::from_secs_f64((missing + 1) as f64 / self.rate.max(1) as f64))
    }

    /// So many bytes have been sent to the peer in all.
    pub(super) fn sent(&mut self, now: Duration, bytes: u64) {
        self.probe.get_or_insert((bytes, now));
    }

    /// So many of them are written there.
    pub(super) fn done(&mut self, now: Duration, bytes: u64) {
        if let Some((_, at)) = self.probe.take_if(|(mark, _)| *mark <= bytes) {
            self.delayed(now - at);
        }
    }

    /// Something else than the peer held the resync up.
    pub(super) fn held_up(&mut self) {
        self.free = None;
    }

    /// Bytes a second of a resync that nothing held up, if it was long enough to say.
    pub(super) fn measured(&self, now: Duration) -> Option<f64> {
        let (began, bytes) = self.free?;
        let took = (now - began).as_secs_f64();
        (bytes >= 16 << 20 && took > 0.0).then(|| bytes as f64 / took)
    }

    fn look(&mut self, now: Duration, config: &Config) {
        let since = now - self.looked;
        if since < LOOK {
            return;
        }
        if let Some((_, at)) = self.probe {
            self.delayed(now - at);
        }
        let (least, most) = (config.resync_rate_min.min(config.resync_rate_max), config.resync_rate_max);
        let reached = (self.taken as f64 / since.as_secs_f64()) as u64;
        self.rate = match () {
            () if !self.busy => most,
            () if self.worst > config.resync_delay_target => self.rate.min(reached) / 4 * 3,
            () if self.rate == u64::MAX => self.rate,
            () => self.rate.saturating_add(self.rate / 4).saturating_add(self.granule),
        }
        .clamp(least.max(1), most.max(1));
        self.calm = !self.busy;
        (self.looked, self.taken, self.worst, self.busy) = (now, 0, Duration::ZERO, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bitmap::GRANULE;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    /// Runs the pace for some seconds of 1 ms; the delay answers every ms with a flush; returns bytes taken in the last second.
    fn run(config: &Config, busy: bool, delay: impl Fn(u64) -> Duration) -> u64 {
        let mut pace = Pace::new(Duration::ZERO, config, GRANULE);
        let (mut now, mut last) = (Duration::ZERO, 0);
        for step in 0..6000u64 {
            now += MS;
            if busy {
                pace.foreground();
                pace.delayed(delay(pace.rate));
            }
            // No disk does more than 128 MiB a second.
            for _ in 0..2 {
                let taken = pace.take(now, config);
                last += if step >= 5000 && taken { GRANULE } else { 0 };
            }
        }
        last
    }

    #[test]
    fn idle_it_goes_as_fast_as_it_can_and_under_load_down_to_the_least() {
        let config = Config { resync_rate_min: 4 << 20, ..Config::default() };
        assert_eq!(run(&config, false, |_| Duration::ZERO), 2000 * GRANULE);
        assert_eq!(run(&config, true, |_| 5 * MS), 2000 * GRANULE, "quick flushes bear it");
        let least = run(&config, true, |_| 500 * MS);
        assert!((3 << 20..=5 << 20).contains(&least), "{least}");
    }

    #[test]
    fn it_settles_where_the_delay_is_borne() {
        let config = Config::default();
        // The disk bears 32 MiB/s beside the writer.
        let rate = run(&config, true, |rate| if rate > 32 << 20 { 80 * MS } else { 10 * MS });
        assert!((16 << 20..=48 << 20).contains(&rate), "{rate}");
    }

    #[test]
    fn only_a_resync_that_nothing_held_up_is_a_measure() {
        let config = Config::default();
        let copied = |hinder: fn(&mut Pace)| {
            let mut pace = Pace::new(Duration::ZERO, &config, GRANULE);
            (0..400).for_each(|_| assert!(pace.take(MS, &config)));
            hinder(&mut pace);
            pace.measured(500 * MS)
        };
        assert_eq!(copied(|_| {}), Some(800.0 * GRANULE as f64));
        assert_eq!(copied(Pace::foreground), None);
        assert_eq!(copied(Pace::held_up), None);
        assert_eq!(Pace::new(Duration::ZERO, &config, GRANULE).measured(MS), None);
    }

    proptest! {
        #[test]
        fn the_rate_stays_between_its_bounds(
            least in 1u64..64 << 20,
            most in 1u64 << 20..256 << 20,
            events in proptest::collection::vec((0u64..300, any::<bool>(), 0u64..200), 1..200),
        ) {
            let config = Config { resync_rate_min: least, resync_rate_max: most, ..Config::default() };
            let mut pace = Pace::new(Duration::ZERO, &config, GRANULE);
            let (mut now, mut bytes) = (Duration::ZERO, 0u64);
            for (wait, busy, delay) in events {
                now += MS * wait as u32;
                if busy {
                    pace.foreground();
                }
                pace.delayed(MS * delay as u32);
                while pace.take(now, &config) {
                    bytes += GRANULE;
                }
                let rate = pace.rate().unwrap();
                prop_assert!(rate >= least.min(most) && rate <= most);
                prop_assert!(pace.due().unwrap() > now.saturating_sub(MS));
            }
            let burst = (most / 4).max(2 * GRANULE);
            prop_assert!(bytes as f64 <= most as f64 * now.as_secs_f64() + burst as f64 + 1.0, "never above the most");
        }
    }
}
