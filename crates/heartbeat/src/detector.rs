//! Who can be heard: an all-pairs failure detector. It only suspects; the quorum decides.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::message::Beat;
use crate::{Incarnation, NodeId, Time};

/// How the detector judges silence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetectorConfig {
    /// How often every member sends a beat. 100 ms suits a LAN.
    pub heartbeat_every: Duration,
    /// Silence after which a member is suspected. Must exceed 3 × `heartbeat_every`.
    pub suspect_after: Duration,
    /// Where a link's jitter makes beats irregular the threshold grows with it, up to this.
    pub suspect_after_max: Duration,
}

impl Default for DetectorConfig {
    fn default() -> Self {
        Self {
            heartbeat_every: Duration::from_millis(100),
            suspect_after: Duration::from_millis(500),
            suspect_after_max: Duration::from_millis(1500),
        }
    }
}

/// A change of what the detector believes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DetectorEvent {
    /// Heard again, or for the first time.
    Alive(NodeId),
    /// Not heard for too long.
    Suspect(NodeId),
}

#[derive(Debug, Clone)]
struct Peer {
    /// The last beat; at the start, when watching began.
    heard: Time,
    ever: bool,
    alive: bool,
    since: Time,
    incarnation: Option<Incarnation>,
    /// Smoothed inter-arrival time and its deviation.
    mean: Duration,
    deviation: Duration,
    /// What the peer said of others in its last beat.
    silent_ms: BTreeMap<NodeId, u32>,
}

/// The detector of one member. Feed it every beat, call [`handle_timeout`](Self::handle_timeout) when
/// [`poll_timeout`](Self::poll_timeout) is due, then drain [`poll_event`](Self::poll_event).
#[derive(Debug, Clone)]
pub struct Detector {
    config: DetectorConfig,
    peers: BTreeMap<NodeId, Peer>,
    events: VecDeque<DetectorEvent>,
    last_run: Time,
}

impl Detector {
    /// A detector that watches nobody yet.
    pub fn new(config: DetectorConfig, now: Time) -> Self {
        Self { config, peers: BTreeMap::new(), events: VecDeque::new(), last_run: now }
    }

    /// Watches just these peers from now on; each has the full time to be heard first.
    pub fn watch(&mut self, now: Time, peers: impl IntoIterator<Item = NodeId>) {
        let wanted: Vec<NodeId> = peers.into_iter().collect();
        self.peers.retain(|n, _| wanted.contains(n));
        for node in wanted {
            let every = self.config.heartbeat_every;
            self.peers.entry(node).or_insert_with(|| Peer::new(now, every));
        }
    }

    /// Takes a beat in. One from a peer that is not watched is ignored.
    pub fn handle(&mut self, now: Time, from: NodeId, beat: &Beat) {
        self.notice_own_pause(now);
        let Some(peer) = self.peers.get_mut(&from) else { return };
        peer.learn_interval(now, self.config.suspect_after_max);
        peer.heard = now;
        peer.ever = true;
        peer.incarnation = Some(beat.incarnation);
        peer.silent_ms.clone_from(&beat.silent_ms);
        if !peer.alive {
            (peer.alive, peer.since) = (true, now);
            self.events.push_back(DetectorEvent::Alive(from));
        }
    }

    /// `node`'s process is known to be gone (its host refused a connection): no need to wait for silence.
    /// A beat that comes all the same is believed.
    pub fn note_gone(&mut self, now: Time, node: NodeId) {
        let longest = self.config.suspect_after_max;
        let Some(peer) = self.peers.get_mut(&node).filter(|p| p.alive && p.ever) else { return };
        (peer.alive, peer.since, peer.heard) = (false, now, peer.heard.min(now - longest));
        self.events.push_back(DetectorEvent::Suspect(node));
    }

    /// Looks whose silence has become too long.
    pub fn handle_timeout(&mut self, now: Time) {
        self.notice_own_pause(now);
        for (node, peer) in &mut self.peers {
            if peer.alive && now.since(peer.heard) >= peer.patience(&self.config) {
                (peer.alive, peer.since) = (false, now);
                self.events.push_back(DetectorEvent::Suspect(*node));
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        let alive = self.peers.values().filter(|p| p.alive);
        alive.map(|p| p.heard + p.patience(&self.config)).min()
    }

    /// The next change of belief.
    pub fn poll_event(&mut self) -> Option<DetectorEvent> {
        self.events.pop_front()
    }

    /// Whether `node` is not suspected. True for one that has just begun to be watched.
    pub fn is_alive(&self, node: NodeId) -> bool {
        self.peers.get(&node).is_some_and(|p| p.alive)
    }

    /// For how long `node` has been heard without interruption; none if it is suspected or was
    /// never heard.
    pub fn alive_for(&self, now: Time, node: NodeId) -> Option<Duration> {
        self.peers.get(&node).filter(|p| p.alive && p.ever).map(|p| now.since(p.since))
    }

    /// How long `node` has been silent.
    pub fn silence(&self, now: Time, node: NodeId) -> Option<Duration> {
        self.peers.get(&node).map(|p| now.since(p.heard))
    }

    /// The life of `node`'s process that was last heard.
    pub fn incarnation(&self, node: NodeId) -> Option<Incarnation> {
        self.peers.get(&node).and_then(|p| p.incarnation)
    }

    /// How long `of` has been silent for `witness`, as far as its last beat tells.
    pub fn silence_seen_by(&self, now: Time, witness: NodeId, of: NodeId) -> Option<Duration> {
        let peer = self.peers.get(&witness).filter(|p| p.ever)?;
        let told = Duration::from_millis(u64::from(*peer.silent_ms.get(&of)?));
        Some(told + now.since(peer.heard))
    }

    /// What a beat says about the others: milliseconds of silence of each.
    pub fn silences(&self, now: Time) -> BTreeMap<NodeId, u32> {
        let ms = |p: &Peer| u32::try_from(now.since(p.heard).as_millis()).unwrap_or(u32::MAX);
        self.peers.iter().filter(|(_, p)| p.ever).map(|(n, p)| (*n, ms(p))).collect()
    }

    /// If this process did not run for a while, the silence is its own: what arrived meanwhile
    /// still waits in a socket. Everybody gets the missed time back.
    fn notice_own_pause(&mut self, now: Time) {
        let gap = now.since(self.last_run);
        self.last_run = self.last_run.max(now);
        let allowed = self.config.heartbeat_every * 2;
        if gap <= allowed {
            return;
        }
        for peer in self.peers.values_mut().filter(|p| p.alive) {
            peer.heard = now.min(peer.heard + gap);
        }
    }
}

impl Peer {
    fn new(now: Time, every: Duration) -> Self {
        Self {
            heard: now,
            ever: false,
            alive: true,
            since: now,
            incarnation: None,
            mean: every,
            deviation: Duration::ZERO,
            silent_ms: BTreeMap::new(),
        }
    }

    /// Smooths as TCP smooths round trips (RFC 6298 §2). A gap beyond the bound is an outage, not jitter.
    fn learn_interval(&mut self, now: Time, bound: Duration) {
        let gap = now.since(self.heard);
        if !self.ever || gap > bound {
            return;
        }
        self.deviation = (self.deviation * 3 + self.mean.abs_diff(gap)) / 4;
        self.mean = (self.mean * 7 + gap) / 8;
    }

    fn patience(&self, config: &DetectorConfig) -> Duration {
        let adaptive = self.mean * 2 + self.deviation * 4;
        adaptive.clamp(config.suspect_after, config.suspect_after_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClusterId, MembershipEpoch};

    #[test]
    fn a_process_that_is_known_to_be_gone_is_suspected_at_once() {
        let (node, at) = (NodeId(2), |ms: u64| Time::from_millis(10_000 + ms));
        let mut detector = Detector::new(DetectorConfig::default(), at(0));
        detector.watch(at(0), [node]);
        let beat = Beat {
            cluster: ClusterId(1),
            incarnation: Incarnation(1),
            sent: at(0),
            stint: None,
            silent_ms: BTreeMap::new(),
        };
        detector.handle(at(10), node, &beat);
        detector.note_gone(at(20), node);
        assert!(!detector.is_alive(node));
        assert!(detector.silence(at(20), node) >= Some(DetectorConfig::default().suspect_after));
        detector.handle(at(30), node, &beat);
        assert!(detector.is_alive(node), "a beat is believed");
    }

    const B: NodeId = NodeId(2);

    fn beat() -> Beat {
        Beat {
            cluster: ClusterId(1),
            incarnation: Incarnation(5),
            sent: Time::ZERO,
            stint: Some(MembershipEpoch(1)),
            silent_ms: [(NodeId(1), 30)].into(),
        }
    }

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    fn watching() -> Detector {
        let mut d = Detector::new(DetectorConfig::default(), at(0));
        d.watch(at(0), [B]);
        d
    }

    /// Beats at each of `times`, with a timer run every 50 ms between them, as a live process has.
    fn run(d: &mut Detector, until: u64, times: &[u64]) -> Vec<(u64, DetectorEvent)> {
        let mut seen = Vec::new();
        for ms in 0..=until {
            if times.contains(&ms) {
                d.handle(at(ms), B, &beat());
            }
            if ms % 50 == 0 || d.poll_timeout() == Some(at(ms)) {
                d.handle_timeout(at(ms));
            }
            seen.extend(std::iter::from_fn(|| d.poll_event()).map(|e| (ms, e)));
        }
        seen
    }

    #[test]
    fn silence_is_suspected_after_the_configured_time_and_a_beat_ends_it() {
        let beats: Vec<u64> = (0..10).map(|i| i * 100).chain([2000]).collect();
        let seen = run(&mut watching(), 2100, &beats);
        assert_eq!(seen, [(1400, DetectorEvent::Suspect(B)), (2000, DetectorEvent::Alive(B))]);
    }

    #[test]
    fn a_jittery_link_gets_more_patience_but_not_without_bound() {
        let beats: Vec<u64> = (0..20).map(|i| i * 400 - if i % 2 == 0 { 0 } else { 250 }).collect();
        let mut d = watching();
        let seen = run(&mut d, 12_000, &beats);
        let last = *beats.last().unwrap();
        let suspected = seen.iter().rfind(|(_, e)| matches!(e, DetectorEvent::Suspect(_))).unwrap().0;
        assert!(suspected > last + 600 && suspected <= last + 1500, "{suspected} after {last}");
    }

    #[test]
    fn a_sleeper_that_wakes_does_not_suspect_the_others() {
        let mut d = watching();
        run(&mut d, 500, &[0, 100, 200, 300, 400, 500]);
        d.handle_timeout(at(9000));
        assert_eq!(d.poll_event(), None, "its own pause is not the peer's silence");
        for ms in (9050..=9700).step_by(50) {
            d.handle_timeout(at(ms));
        }
        assert_eq!(d.poll_event(), Some(DetectorEvent::Suspect(B)), "but it is not forgiven for ever");
    }

    #[test]
    fn a_beat_tells_whom_its_sender_hears() {
        let mut d = watching();
        d.handle(at(100), B, &beat());
        assert_eq!(d.silence_seen_by(at(150), B, NodeId(1)), Some(Duration::from_millis(80)));
        assert_eq!(d.silence_seen_by(at(150), B, NodeId(9)), None);
    }
}
