//! The seven steps, and what each must show.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::client::Security;
use super::cluster::{A, B, Cluster};
use super::corpus::{self, Rng};
use super::courier::{Courier, World};
use super::ledger::{Audit, Dump, UserIndex};
use super::load::{EventKind, Load, LoadPlan, LoadResult};
use super::operator::Goal;
use super::progress::Step;
use super::report::Report;
use super::{DemoArgs, people, reading, story_netns};

/// SMTP clients on each address that deliver the corpus.
const COURIERS: usize = 4;

/// The load that node a is killed under.
const HEAVY: LoadPlan =
    LoadPlan { name: "kill", senders: 5, readers: 4, pause: Duration::from_millis(2), bytes: 4_000 };

/// The load under which volumes and addresses move.
const LIGHT: LoadPlan =
    LoadPlan { name: "home", senders: 2, readers: 2, pause: Duration::from_millis(50), bytes: 2_000 };

/// How many letters the heavy load must have delivered before the kill.
const WARM: u64 = 60;

/// How long a cluster may take for one thing before the demo calls it a failure.
const PATIENCE: Duration = Duration::from_secs(20);

/// A step could not go on; later ones were not tried.
pub type Stopped = String;

/// Runs the steps 2 to 6 on a cluster that has just been started.
///
/// # Errors
/// What kept a step from going on. Promises that do not hold are in the report instead.
pub async fn run(args: &DemoArgs, cluster: &mut Cluster, report: &mut Report) -> Result<(), Stopped> {
    let world = Arc::clone(cluster.world());
    deliver_corpus(args, &world, report).await?;
    read_on_the_other_node(&world, report).await?;
    neighbours(cluster, report, 3, [A, B]).await?;
    let killed = kill_under_load(args, cluster, &world, report).await?;
    neighbours(cluster, report, 4, [B, B]).await?;
    check_after_kill(&world, report, &killed).await?;
    come_home(cluster, &world, report).await?;
    neighbours(cluster, report, 6, [A, B]).await?;
    drain(cluster, &world, report).await?;
    if cluster.net().is_some() {
        story_netns::sleeper(cluster, &world, report).await?;
        story_netns::cut_link(cluster, &world, report).await?;
    }
    final_audit(&world, report).await
}

/// Where hosts are namespaces: that the client's neighbour table follows the addresses.
async fn neighbours(
    cluster: &Cluster,
    report: &mut Report,
    step: u8,
    nodes: [usize; 2],
) -> Result<(), Stopped> {
    let Some(net) = cluster.net() else { return Ok(()) };
    for (address, node) in cluster.world().doors.addresses.into_iter().zip(nodes) {
        story_netns::check_neighbour(net, report, step, address, node).await?;
    }
    Ok(())
}

/// A letter of the corpus in a courier's hands.
#[derive(Clone)]
struct Outgoing {
    id: String,
    message: Vec<u8>,
    to: Vec<UserIndex>,
}

/// Step 2: the corpus, by SMTP, through both addresses at once.
async fn deliver_corpus(args: &DemoArgs, world: &Arc<World>, report: &mut Report) -> Result<(), Stopped> {
    let messages = corpus::messages(args.seed, args.messages);
    let total = messages.len();
    let bytes: usize = messages.iter().map(|message| message.bytes.len()).sum();
    let step = Arc::new(Step::begin(2, "deliver the corpus", total as u64));
    let started = Instant::now();
    let mut rng = Rng::new(args.seed);
    let mut hands: Vec<Vec<Outgoing>> = vec![Vec::new(); 2 * COURIERS];
    for (number, message) in messages.into_iter().enumerate() {
        let to = recipients(world, &mut rng, number);
        let id = format!("corpus-{number}-{}", message.name);
        hands[number % (2 * COURIERS)].push(Outgoing { id, message: message.bytes, to });
    }
    let mut couriers = JoinSet::new();
    for (index, letters) in hands.into_iter().enumerate() {
        let security = if index / 2 % 2 == 0 { Security::Plain } else { Security::StartTls };
        let (mut courier, step) = (Courier::new(world, index % 2, security), Arc::clone(&step));
        couriers.spawn(async move {
            for letter in letters {
                courier.send(&letter.id, &letter.message, &letter.to).await?;
                step.one_more();
            }
            courier.close().await;
            Ok::<(), String>(())
        });
    }
    let mut faults = join(couriers).await;
    faults.extend(world.take_failures());
    let (acknowledged, open) = world.ledger.acknowledged_and_open();
    let seconds = started.elapsed().as_secs_f64();
    let measured = format!("{acknowledged} of {total}, {:.1} MB in {seconds:.1} s", bytes as f64 / 1e6);
    if open > 0 {
        faults.push(format!("{open} messages got no 250"));
    }
    report.measure("corpus_deliveries_per_second", acknowledged as f64 / seconds, "/s");
    report.check(2, "every message gets its 250, through both addresses at once", measured.clone(), faults);
    end(step, &measured);
    Ok(())
}

/// One user; for every fourth message one of each volume.
fn recipients(world: &World, rng: &mut Rng, number: usize) -> Vec<UserIndex> {
    let first = number % world.people.len();
    let others = people::of_volume(&world.people, 1 - world.people[first].volume);
    if number % 4 == 3 && !others.is_empty() {
        vec![first, others[rng.below(others.len())]]
    } else {
        vec![first]
    }
}

/// Step 3: every mailbox by IMAP through both addresses, one by POP3, compared byte for byte.
async fn read_on_the_other_node(world: &Arc<World>, report: &mut Report) -> Result<(), Stopped> {
    let step = Step::begin(3, "read everything on the other node", 0);
    let mut audit = Audit::default();
    let mut dumps = Vec::new();
    for via in [B, A] {
        step.say(format!("IMAP by address {}", via + 1));
        // What one address took is looked for through the other one.
        let (found, read) = settled(world, via, Some(1 - via)).await?;
        audit.add(found);
        read.iter().for_each(|dump| world.ledger.learn(dump));
        dumps = read;
    }
    let both = audit.compared;
    report.check(
        3,
        "IMAP on the other node gives back every byte",
        format!("{both} messages in {} mailboxes", dumps.len() * 2),
        audit.faults(),
    );
    let faults = world.ledger.contradictions();
    let told = world.ledger.uids_told();
    report.check(3, "both nodes tell the same UIDs", format!("{told} UIDs"), faults);
    step.say("POP3");
    let (count, faults) = compare_pop3(world, &dumps).await?;
    report.check(3, "POP3 gives the same messages", format!("{count} messages"), faults);
    step.end(&format!("{both} compared by IMAP, {count} by POP3"));
    Ok(())
}

/// Reads the largest mailbox that is not led where the address is, by POP3.
async fn compare_pop3(world: &World, dumps: &[Dump]) -> Result<(usize, Vec<String>), Stopped> {
    let user = (0..dumps.len()).max_by_key(|&user| dumps[user].messages.len()).unwrap_or(0);
    let via = 1 - world.people[user].volume;
    let read = reading::pop3(world, via, user, Security::StartTls).await;
    let (ids, messages) = read.map_err(|error| format!("reading user {user} by POP3: {error}"))?;
    let expected: Vec<&[u8]> = dumps[user].messages.iter().map(|message| message.body.as_slice()).collect();
    let mut faults = Vec::new();
    if messages != expected {
        let first = messages.iter().zip(&expected).position(|(a, b)| a != b);
        let (pop3, imap) = (messages.len(), expected.len());
        faults.push(format!(
            "user {user}: POP3 has {pop3} messages, IMAP {imap}; the first to differ: {first:?}"
        ));
    }
    let mut unique = ids.clone();
    unique.sort();
    unique.dedup();
    if unique.len() != messages.len() || ids.len() != messages.len() {
        faults.push(format!("user {user}: {} UIDLs, {} different ones", ids.len(), unique.len()));
    }
    Ok((messages.len(), faults))
}

/// What the audit after a kill needs to know of it.
pub struct Killed {
    /// UIDs told before the load ended.
    pub told: usize,
}

/// Step 4: SIGKILL in the middle of a running load.
async fn kill_under_load(
    args: &DemoArgs,
    cluster: &mut Cluster,
    world: &Arc<World>,
    report: &mut Report,
) -> Result<Killed, Stopped> {
    let step = Step::begin(4, "kill node a under load", 0);
    let load = Load::start(world, HEAVY);
    step.say("load");
    until(PATIENCE, "the load to warm up", || load.delivered() >= WARM).await?;
    // At another moment for each seed.
    let moment = Rng::fork(args.seed, 4).below(200);
    tokio::time::sleep(Duration::from_millis(moment as u64)).await;
    let before = world.take_failures();
    let at = cluster.kill(A)?;
    step.say("node a is dead; clients connect again");
    let recovered = || load.has(at, A, A, EventKind::Delivered) && load.has(at, A, A, EventKind::Selected);
    let waited = until(PATIENCE, "mail to be served again on the address of node a", recovered).await;
    // A little longer, so that the audit sees mail from before, during and after.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let result = load.stop().await;
    waited?;
    enter_failover(args, report, &result, at);
    report.check(4, "no command fails before the kill", format!("{} failed", before.len()), before);
    // What broke in the middle of the kill is expected; only refusals for good are not.
    world.take_failures();
    report.check(4, "no letter is refused for good or given up", "none".into(), result.faults.clone());
    let (acknowledged, _) = world.ledger.acknowledged_and_open();
    step.end(&format!("{acknowledged} letters acknowledged so far"));
    Ok(Killed { told: world.ledger.uids_told() })
}

fn enter_failover(args: &DemoArgs, report: &mut Report, result: &LoadResult, at: Instant) {
    let with = if args.hints { " (closed sockets used as hints)" } else { "" };
    let names = match args.hints {
        false => ["kill_to_first_250", "kill_to_first_select"],
        true => ["kill_to_first_250_with_hints", "kill_to_first_select_with_hints"],
    };
    for (kind, what, name) in
        [(EventKind::Delivered, "first 250", names[0]), (EventKind::Selected, "first SELECT", names[1])]
    {
        let first = result.first_after(at, A, A, kind);
        let milliseconds = first.map(|first| first.as_secs_f64() * 1e3);
        let measured = milliseconds.map_or("never".to_owned(), |ms| format!("{ms:.0} ms{with}"));
        let promise = format!("{what} on the moved address within 2 s of the kill");
        let late = milliseconds.is_none_or(|ms| ms > 2_000.0).then(|| format!("{what}: {measured}"));
        report.check(4, &promise, measured.clone(), late.into_iter().collect());
        report.measure(name, milliseconds.unwrap_or(f64::INFINITY), "ms");
    }
}

/// Step 5: every acknowledged message is there, whole, once; UIDs mean what they meant.
async fn check_after_kill(world: &Arc<World>, report: &mut Report, killed: &Killed) -> Result<(), Stopped> {
    let step = Step::begin(5, "look for every acknowledged message", 0);
    let audit = audit_all(world, B).await?;
    let (acknowledged, open) = world.ledger.acknowledged_and_open();
    let lost = world.ledger.replies_lost();
    let kept = format!("{acknowledged} acknowledged, {} copies compared, {open} open", audit.compared);
    let wrong = [audit.missing.clone(), audit.altered.clone(), audit.strangers.clone()].concat();
    report.check(5, "every message that got its 250 is there, whole", kept.clone(), wrong);
    let twice = format!("{} duplicates, {lost} replies lost", audit.excused_duplicates);
    report.check(
        5,
        "twice only where a lost reply made a client send again",
        twice,
        audit.duplicates.clone(),
    );
    let same = format!("{} of {} UIDs confirmed", audit.uids_confirmed, killed.told);
    let changed = [audit.changed_meaning.clone(), world.ledger.contradictions()].concat();
    report.check(5, "every UID and flag seen before still means the same", same, changed);
    report.measure("replies_lost", lost as f64, "");
    step.end(&kept);
    Ok(())
}

/// Step 6, first half: node a comes back, catches up, is compared, and takes its volume and address
/// home.
async fn come_home(cluster: &mut Cluster, world: &Arc<World>, report: &mut Report) -> Result<(), Stopped> {
    let step = Step::begin(6, "node a comes back", 0);
    let load = Load::start(world, LIGHT);
    let back = catch_up(cluster, &step, report).await;
    let started = Instant::now();
    let home = match back {
        Ok(()) => go_home(cluster, &step, report).await,
        Err(stopped) => Err(stopped),
    };
    let result = load.stop().await;
    home?;
    let failed = [world.take_failures(), result.faults.clone()].concat();
    let longest = result.longest_wait(started);
    let moved = format!("{} failed, longest wait {} ms", failed.len(), longest.as_millis());
    report.check(6, "no command fails while volume and address go home", moved.clone(), failed);
    report.measure("home_longest_wait", longest.as_secs_f64() * 1e3, "ms");
    step.end(&moved);
    Ok(())
}

/// Node a is held (drained) until both replicas have been compared, so that nothing moves meanwhile.
async fn catch_up(cluster: &mut Cluster, step: &Step, report: &mut Report) -> Result<(), Stopped> {
    cluster.drain(A, true).await?;
    let started = Instant::now();
    cluster.start(A)?;
    step.say("resync");
    cluster.wait(Goal::InSync, PATIENCE).await?;
    let took = started.elapsed();
    report.measure("rejoin_in_sync", took.as_secs_f64() * 1e3, "ms");
    report.check(
        6,
        "the restarted node is in sync",
        format!("{} ms after its start", took.as_millis()),
        vec![],
    );
    step.say("verify");
    let (bytes, faults) = cluster.verify().await?;
    let compared = format!("{} MiB compared", bytes >> 20);
    report.check(6, "both replicas are identical, verified online", compared, faults);
    Ok(())
}

async fn go_home(cluster: &mut Cluster, step: &Step, report: &mut Report) -> Result<(), Stopped> {
    step.say("going home");
    let started = Instant::now();
    cluster.drain(A, false).await?;
    cluster.wait(Goal::AtHome, PATIENCE).await?;
    let took = started.elapsed();
    report.check(6, "volume and address go home", format!("{} ms", took.as_millis()), vec![]);
    Ok(())
}

/// Step 6, second half: node b is drained under a light load, and nobody notices.
async fn drain(cluster: &mut Cluster, world: &Arc<World>, report: &mut Report) -> Result<(), Stopped> {
    let step = Step::begin(6, "drain node b", 0);
    let load = Load::start(world, LoadPlan { name: "drain", ..LIGHT });
    until(PATIENCE, "the light load to begin", || load.delivered() >= 10).await?;
    let started = Instant::now();
    let moved = async {
        cluster.drain(B, true).await?;
        cluster.wait(Goal::AllOn(A), PATIENCE).await?;
        let took = started.elapsed();
        until(PATIENCE, "mail on the moved address", || load.has(started, B, B, EventKind::Delivered))
            .await?;
        Ok::<Duration, Stopped>(took)
    }
    .await;
    let result = load.stop().await;
    let took = moved?;
    let failed = [world.take_failures(), result.faults.clone()].concat();
    let longest = result.longest_wait(started);
    let delivered = result.events.iter().filter(|event| event.kind == EventKind::Delivered).count();
    let measured =
        format!("{} failed, {delivered} delivered, longest wait {} ms", failed.len(), longest.as_millis());
    report.check(6, "a drained node moves without a failed command", measured.clone(), failed);
    report.measure("drain_took", took.as_secs_f64() * 1e3, "ms");
    report.measure("drain_longest_wait", longest.as_secs_f64() * 1e3, "ms");
    step.say("undrain");
    cluster.drain(B, false).await?;
    cluster.wait(Goal::AtHome, PATIENCE).await?;
    report.check(6, "after undrain all is at home again", "yes".into(), vec![]);
    step.end(&measured);
    Ok(())
}

/// Step 7 begins with one more look at everything, through both addresses.
async fn final_audit(world: &Arc<World>, report: &mut Report) -> Result<(), Stopped> {
    let step = Step::begin(7, "look once more, on both nodes", 0);
    let mut audit = Audit::default();
    for via in [A, B] {
        audit.add(audit_all(world, via).await?);
    }
    let (acknowledged, _) = world.ledger.acknowledged_and_open();
    let measured = format!("{acknowledged} acknowledged, {} copies compared", audit.compared);
    let faults = [audit.faults(), world.ledger.contradictions()].concat();
    report.check(7, "at the end all of it is there on both nodes", measured.clone(), faults);
    step.end(&measured);
    Ok(())
}

/// Reads every mailbox through an address and compares it with the book.
pub async fn audit_all(world: &Arc<World>, via: usize) -> Result<Audit, Stopped> {
    settled(world, via, None).await.map(|(audit, _)| audit)
}

/// How long mail for users on both volumes may stay in the spool: its 250 says that it is safe, not
/// that it is in the mailbox (DESIGN R13).
const SPOOL_PATIENCE: Duration = Duration::from_secs(5);

/// Reads every mailbox through an address and compares the letters that `taken_by` took (all, if
/// `None`); again if some have not arrived, for a short time.
async fn settled(
    world: &Arc<World>,
    via: usize,
    taken_by: Option<usize>,
) -> Result<(Audit, Vec<Dump>), Stopped> {
    let started = Instant::now();
    loop {
        let dumps = reading::all(world, via).await?;
        let mut audit = Audit::default();
        dumps.iter().for_each(|dump| audit.add(world.ledger.audit(dump, taken_by)));
        if audit.missing.is_empty() || started.elapsed() > SPOOL_PATIENCE {
            return Ok((audit, dumps));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until `done`, by looking often.
pub async fn until(limit: Duration, what: &str, done: impl Fn() -> bool) -> Result<(), Stopped> {
    let started = Instant::now();
    while !done() {
        if started.elapsed() > limit {
            return Err(format!("waited {limit:?} for {what}, in vain"));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

async fn join(mut tasks: JoinSet<Result<(), String>>) -> Vec<String> {
    let mut faults = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => faults.push(fault),
            Err(panic) => faults.push(format!("a client panicked: {panic}")),
        }
    }
    faults
}

/// Ends a step whose other holders are gone.
fn end(step: Arc<Step>, outcome: &str) {
    if let Ok(step) = Arc::try_unwrap(step) {
        step.end(outcome);
    }
}
