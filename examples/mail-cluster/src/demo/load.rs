//! A running load: senders and readers on both addresses, until told to stop.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::client::{ClientError, ImapClient, Security, UidSet};
use super::corpus::{self, Rng};
use super::courier::{Courier, World};
use super::ledger::{MARK, UserIndex, mark_of};
use super::people;

/// How heavy a load is.
#[derive(Debug, Clone, Copy)]
pub struct LoadPlan {
    /// A name for the marks of its letters.
    pub name: &'static str,
    /// SMTP clients on each address.
    pub senders: usize,
    /// IMAP sessions on each address, each on one mailbox.
    pub readers: usize,
    /// What a sender waits between two letters.
    pub pause: Duration,
    /// About how big a letter is.
    pub bytes: usize,
}

/// Something a client achieved.
#[derive(Debug, Clone)]
pub struct Event {
    /// Which address.
    pub via: usize,
    /// The volumes it touched.
    pub volumes: Vec<usize>,
    /// What.
    pub kind: EventKind,
    /// When the session was opened.
    pub connected: Instant,
    /// When the answer came.
    pub at: Instant,
    /// How long the client had waited for it, attempts included.
    pub took: Duration,
}

/// What a client achieved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// A 250 after the last dot.
    Delivered,
    /// A SELECT that succeeded.
    Selected,
}

/// A load that runs.
pub struct Load {
    shared: Arc<Shared>,
    tasks: JoinSet<Result<(), String>>,
}

struct Shared {
    world: Arc<World>,
    plan: LoadPlan,
    stop: AtomicBool,
    delivered: AtomicU64,
    events: Mutex<Vec<Event>>,
}

/// What a load did.
#[derive(Debug, Default)]
pub struct LoadResult {
    /// Everything the clients achieved, in no order.
    pub events: Vec<Event>,
    /// Letters that were refused for good or given up, sessions that ended in nonsense.
    pub faults: Vec<String>,
}

impl LoadResult {
    /// The first success of a kind through an address on a volume, in a session that was opened
    /// after `since`, as a time after `since`.
    pub fn first_after(
        &self,
        since: Instant,
        via: usize,
        volume: usize,
        kind: EventKind,
    ) -> Option<Duration> {
        let matching = self.events.iter().filter(|event| {
            event.kind == kind
                && event.via == via
                && event.volumes.contains(&volume)
                && event.connected >= since
        });
        matching.map(|event| event.at - since).min()
    }

    /// The longest that a client waited for a success after `since`.
    pub fn longest_wait(&self, since: Instant) -> Duration {
        self.events.iter().filter(|event| event.at >= since).map(|event| event.took).max().unwrap_or_default()
    }
}

impl Load {
    /// Starts the clients.
    pub fn start(world: &Arc<World>, plan: LoadPlan) -> Self {
        let shared = Arc::new(Shared {
            world: Arc::clone(world),
            plan,
            stop: AtomicBool::new(false),
            delivered: AtomicU64::new(0),
            events: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        for via in 0..2 {
            for index in 0..plan.senders {
                tasks.spawn(send_on(Arc::clone(&shared), via, index));
            }
            for index in 0..plan.readers {
                tasks.spawn(read_on(Arc::clone(&shared), via, index));
            }
        }
        Self { shared, tasks }
    }

    /// How many letters got their 250 so far.
    pub fn delivered(&self) -> u64 {
        self.shared.delivered.load(Ordering::Relaxed)
    }

    /// Whether something of this kind was achieved on the volume through the address, in a session
    /// opened after `since`.
    pub fn has(&self, since: Instant, via: usize, volume: usize, kind: EventKind) -> bool {
        self.shared.events().iter().any(|event| {
            event.kind == kind
                && event.via == via
                && event.volumes.contains(&volume)
                && event.connected >= since
        })
    }

    /// Whether a letter got its 250 through the address after `since`, in any session.
    pub fn has_delivered(&self, since: Instant, via: usize) -> bool {
        let delivered =
            |event: &Event| event.kind == EventKind::Delivered && event.via == via && event.at >= since;
        self.shared.events().iter().any(delivered)
    }

    /// Stops the clients; each ends what it has begun.
    pub async fn stop(mut self) -> LoadResult {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut result = LoadResult::default();
        while let Some(ended) = self.tasks.join_next().await {
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(fault)) => result.faults.push(fault),
                Err(panic) => result.faults.push(format!("a client panicked: {panic}")),
            }
        }
        result.events = std::mem::take(&mut *self.shared.events());
        result
    }
}

impl Shared {
    fn events(&self) -> std::sync::MutexGuard<'_, Vec<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Which sessions go under TLS: some of each kind.
fn security(index: usize) -> Security {
    [Security::Plain, Security::StartTls, Security::Plain][index % 3]
}

/// One sender: small letters to one user, or to two on different volumes, for ever.
async fn send_on(shared: Arc<Shared>, via: usize, index: usize) -> Result<(), String> {
    let (world, plan) = (&shared.world, shared.plan);
    let lane = (via * 1_000 + index) as u64;
    let mut rng = Rng::fork(world.seed, 0x6c_6f61_6400 + lane);
    let mut courier = Courier::new(world, via, security(index));
    for number in 0.. {
        if shared.stopping() {
            break;
        }
        let to = recipients(world, &mut rng);
        let message = corpus::small(world.seed, lane << 32 | number, plan.bytes / 2 + rng.below(plan.bytes));
        let id = format!("{}-{via}-{index}-{number}", plan.name);
        let receipt = courier.send(&id, &message.bytes, &to).await?;
        shared.delivered.fetch_add(1, Ordering::Relaxed);
        shared.events().push(Event {
            via,
            volumes: to.iter().map(|&user| world.people[user].volume).collect(),
            kind: EventKind::Delivered,
            connected: receipt.connected,
            at: receipt.at,
            took: receipt.took,
        });
        tokio::time::sleep(plan.pause).await;
    }
    courier.close().await;
    Ok(())
}

/// One user, or now and then one of each volume.
fn recipients(world: &World, rng: &mut Rng) -> Vec<UserIndex> {
    let first = rng.below(world.people.len());
    let others = people::of_volume(&world.people, 1 - world.people[first].volume);
    if rng.one_in(5) && !others.is_empty() {
        vec![first, others[rng.below(others.len())]]
    } else {
        vec![first]
    }
}

/// One reader: opens a mailbox, learns what UIDs mean, sets a flag here and there, waits for more.
async fn read_on(shared: Arc<Shared>, via: usize, index: usize) -> Result<(), String> {
    let world = &shared.world;
    // The readers of the first address begin with the first volume's users, and so on.
    let mut order = people::of_volume(&world.people, via);
    order.extend(people::of_volume(&world.people, 1 - via));
    let user = order[index % order.len()];
    let mut attempted = Instant::now();
    while !shared.stopping() {
        match read_session(&shared, via, user, index, &mut attempted).await {
            Ok(()) => break,
            Err(error) => world.note(&format!("IMAP by address {}, user {user}", via + 1), &error),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

async fn read_session(
    shared: &Shared,
    via: usize,
    user: UserIndex,
    index: usize,
    attempted: &mut Instant,
) -> Result<(), ClientError> {
    let (world, person) = (&shared.world, &shared.world.people[user]);
    let connected = Instant::now();
    let target = world.doors.imap(via, if index % 2 == 1 { Security::Tls } else { Security::Plain });
    let mut client = ImapClient::login(&target, &person.address, &person.password).await?;
    let selected = client.select("INBOX").await?;
    let at = Instant::now();
    let (volumes, took) = (vec![person.volume], at - *attempted);
    shared.events().push(Event { via, volumes, kind: EventKind::Selected, connected, at, took });
    world.ledger.told_uid_validity(user, selected.uid_validity);
    let mut next = 1;
    while !shared.stopping() {
        for message in client.fetch_field(UidSet::From(next), MARK).await? {
            let id = mark_of(&message.body).unwrap_or("no mark");
            world.ledger.told_uid(user, message.uid, id);
            next = message.uid + 1;
        }
        if next > 1 && index == 0 {
            client.set_flag(next - 1, "\\Flagged", true).await?;
            world.ledger.told_flag(user, next - 1, "\\Flagged");
        }
        client.idle(Duration::from_millis(250)).await?;
        *attempted = Instant::now();
    }
    client.logout().await
}
