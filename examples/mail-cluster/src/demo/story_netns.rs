//! What only hosts of their own can show: who answers ARP, a node that sleeps past its lease, and a
//! cut between the nodes that the witness does not see.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::client::{ClientError, Delivery, ImapClient, Security, SmtpClient};
use super::cluster::{A, B, Cluster, NAMES};
use super::corpus;
use super::courier::World;
use super::load::{EventKind, Load, LoadPlan};
use super::netns::Net;
use super::operator::Goal;
use super::people;
use super::progress::Step;
use super::report::Report;
use super::story::{Stopped, audit_all, until};

const LOAD: LoadPlan =
    LoadPlan { name: "netns", senders: 2, readers: 2, pause: Duration::from_millis(20), bytes: 2_000 };

const PATIENCE: Duration = Duration::from_secs(30);

/// How long the client's neighbour table may take to follow an announcement.
const ARP_PATIENCE: Duration = Duration::from_secs(2);

/// How long a sleeper that woke is listened to.
const LISTEN: Duration = Duration::from_secs(3);

/// Checks that the client's neighbour table has an address at a node.
///
/// # Errors
/// `ip`'s own.
pub async fn check_neighbour(
    net: &Net,
    report: &mut Report,
    step: u8,
    address: IpAddr,
    node: usize,
) -> Result<(), Stopped> {
    let expected = net.hardware_address(node)?;
    let started = Instant::now();
    let mut seen = net.neighbour(address);
    while seen.as_ref() != Ok(&expected) && started.elapsed() < ARP_PATIENCE {
        tokio::time::sleep(Duration::from_millis(5)).await;
        seen = net.neighbour(address);
    }
    let faults = (seen.as_ref() != Ok(&expected))
        .then(|| format!("node {} is {expected}, seen {seen:?}", NAMES[node]));
    let promise = format!("the client's neighbour table has {address} at node {}", NAMES[node]);
    let measured = format!("{} ms", started.elapsed().as_millis());
    report.check(step, &promise, measured, faults.into_iter().collect());
    Ok(())
}

/// SIGSTOP of node a past its lease. What it had in hand when it fell asleep it must not
/// acknowledge when it wakes.
///
/// # Errors
/// What kept the scene from going on.
pub async fn sleeper(cluster: &mut Cluster, world: &Arc<World>, report: &mut Report) -> Result<(), Stopped> {
    let step = Step::begin(7, "node a sleeps past its lease", 0);
    let load = Load::start(world, LoadPlan { name: "sleep", ..LOAD });
    until(PATIENCE, "the load to begin", || load.delivered() >= 10).await?;
    let mut hand = Hand::take(world).await?;
    let at = Instant::now();
    cluster.stop(A)?;
    hand.let_go().await.map_err(|e| format!("the kernel of the sleeping node took nothing: {e}"))?;
    let served = || load.has(at, A, A, EventKind::Delivered) && load.has(at, A, A, EventKind::Selected);
    let moved = until(PATIENCE, "the other node to serve everything", served).await;
    // It wakes among hosts that do not hear it, so nobody can have let it in again; the client hears it.
    let woken = exile(cluster, true).and_then(|()| cluster.wake(A));
    moved.and(woken)?;
    step.say("awake");
    let acknowledged = hand.listen(world).await;
    exile(cluster, false)?;
    cluster.wait(Goal::AtHome, PATIENCE).await?;
    let result = load.stop().await;
    world.take_failures();
    let first = result.first_after(at, A, A, EventKind::Delivered).unwrap_or_default();
    let measured = format!("nothing acknowledged; first 250 elsewhere after {} ms", first.as_millis());
    report.check(7, "a sleeper that wakes acknowledges nothing", measured, acknowledged);
    audit(world, report, "after the sleep every acknowledged message is there", result.faults).await?;
    step.end(&format!("served elsewhere after {} ms, home again", first.as_millis()));
    Ok(())
}

/// Commands that node a has begun when it falls asleep: a letter that lacks its last dot, and an
/// IMAP session on a mailbox that it leads.
struct Hand {
    id: String,
    smtp: SmtpClient,
    imap: ImapClient,
    tag: String,
}

impl Hand {
    async fn take(world: &Arc<World>) -> Result<Self, Stopped> {
        let user = *people::of_volume(&world.people, A).first().ok_or("no user on the first volume")?;
        let person = &world.people[user];
        let id = "sleeper-letter".to_owned();
        let bytes = world.ledger.enter(&id, &corpus::small(world.seed, 0, 500).bytes, vec![user], A);
        let opening = async {
            let mut smtp = SmtpClient::connect(&world.doors.smtp(A, Security::Plain)).await?;
            smtp.deliver_almost("sender@client.example", &[&person.address], &bytes).await?;
            let target = world.doors.imap(A, Security::Plain);
            let mut imap = ImapClient::login(&target, &person.address, &person.password).await?;
            imap.select("INBOX").await?;
            Ok::<_, ClientError>((smtp, imap))
        };
        let (smtp, imap) = opening.await.map_err(|e| e.to_string())?;
        Ok(Self { id, smtp, imap, tag: String::new() })
    }

    /// Sends what node a will find when it wakes.
    async fn let_go(&mut self) -> Result<(), ClientError> {
        self.smtp.send_last_dot().await?;
        self.tag = self.imap.send_only("STORE 1 +FLAGS (Sleeper)").await?;
        Ok(())
    }

    /// What was acknowledged nevertheless, in words.
    async fn listen(&mut self, world: &World) -> Vec<String> {
        let mut acknowledged = Vec::new();
        match tokio::time::timeout(LISTEN, self.smtp.answer_to_last_dot()).await {
            Ok(Delivery::Accepted) => {
                world.ledger.acknowledged(&self.id);
                acknowledged.push("the letter in its hand got its 250".to_owned());
            }
            Ok(Delivery::Refused(_)) => {}
            // It may have been shipped before the sleep: one copy is no lie.
            _ => world.ledger.reply_lost(&self.id),
        }
        if let Ok(Ok(())) = tokio::time::timeout(LISTEN, self.imap.answer_to(&self.tag)).await {
            acknowledged.push("the STORE in its hand got its OK".to_owned());
        }
        acknowledged
    }
}

/// The link between the nodes is cut; the witness and the client see both.
///
/// # Errors
/// What kept the scene from going on.
pub async fn cut_link(cluster: &mut Cluster, world: &Arc<World>, report: &mut Report) -> Result<(), Stopped> {
    let step = Step::begin(7, "cut the link between the nodes", 0);
    let load = Load::start(world, LoadPlan { name: "cut", ..LOAD });
    until(PATIENCE, "the load to begin", || load.delivered() >= 10).await?;
    let at = Instant::now();
    cut(cluster, true)?;
    let one = cluster.wait(Goal::AllOnOne, PATIENCE).await;
    let decided = at.elapsed();
    let since = Instant::now();
    let served = || (0..2).all(|via| load.has_delivered(since, via));
    let served = match one {
        Ok(()) => until(PATIENCE, "mail on both addresses", served).await,
        Err(stopped) => Err(stopped),
    };
    step.say("the link is back");
    cut(cluster, false)?;
    served?;
    cluster.wait(Goal::AtHome, PATIENCE).await?;
    let result = load.stop().await;
    world.take_failures();
    let measured = format!("one node has everything after {} ms", decided.as_millis());
    report.check(7, "a cut between the nodes leaves one survivor for everything", measured.clone(), vec![]);
    audit(world, report, "after the cut every acknowledged message is there", result.faults).await?;
    step.end(&measured);
    Ok(())
}

fn cut(cluster: &Cluster, cut: bool) -> Result<(), Stopped> {
    cluster.net().ok_or("no namespaces")?.cut(cut)
}

fn exile(cluster: &Cluster, exile: bool) -> Result<(), Stopped> {
    cluster.net().ok_or("no namespaces")?.exile(A, exile)
}

async fn audit(
    world: &Arc<World>,
    report: &mut Report,
    promise: &str,
    mut faults: Vec<String>,
) -> Result<(), Stopped> {
    let audit = audit_all(world, B).await?;
    faults.extend(audit.faults());
    faults.extend(world.ledger.contradictions());
    report.check(7, promise, format!("{} copies compared", audit.compared), faults);
    Ok(())
}
