//! Clients that ask as fast as they are answered, and count.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::demo::client::{ClientError, Delivery, ImapClient, Security, SmtpClient, Target, UidSet};
use crate::demo::corpus;
use crate::demo::people::{Doors, Person};

use super::disk;

/// A load ends before its time when it has delivered so many bytes, so that the volumes do not become full on a
/// quick machine.
pub(super) const LOAD_BYTES_MAX: u64 = 256 << 20;

/// A server under test.
#[derive(Clone)]
pub(super) struct Server {
    /// Where it is. A server with one address has it twice.
    pub(super) doors: Doors,
    /// Its users.
    pub(super) people: Arc<Vec<Person>>,
}

/// What a load of deliveries came to.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Load {
    /// Acknowledged messages a second, of those acknowledged in time.
    pub(super) rate: f64,
    /// Bytes of all acknowledged messages, as the clients had them.
    pub(super) bytes: u64,
}

/// Acknowledged deliveries: `clients` SMTP sessions, spread over the addresses and the users, each
/// sending one of `messages` after the other for `time`.
///
/// # Errors
/// A session could not be opened, or a message was refused.
pub(super) async fn deliveries(
    server: &Server,
    clients: usize,
    messages: &Arc<Vec<Vec<u8>>>,
    time: Duration,
) -> Result<Load, String> {
    let mut sessions = Vec::new();
    for index in 0..clients {
        let target = server.doors.smtp(index % 2, Security::Plain);
        sessions.push(SmtpClient::connect(&target).await.map_err(|e| e.to_string())?);
    }
    let mut tasks = JoinSet::new();
    let (count, bytes) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (started, stopped) = (Instant::now(), Arc::new(OnceLock::new()));
    for (index, mut session) in sessions.into_iter().enumerate() {
        let (people, messages) = (Arc::clone(&server.people), Arc::clone(messages));
        let (count, bytes, stopped) = (Arc::clone(&count), Arc::clone(&bytes), Arc::clone(&stopped));
        tasks.spawn(async move {
            for number in index.. {
                let to = people[number % people.len()].address.as_str();
                // Each client begins elsewhere and meets all sizes.
                let message = &messages[(index * 7 + number) % messages.len()];
                match session.deliver("bench@client.example", &[to], message).await {
                    Delivery::Accepted => bytes.fetch_add(message.len() as u64, Ordering::Relaxed),
                    other => return Err(format!("a delivery failed: {other:?}")),
                };
                if bytes.load(Ordering::Relaxed) >= LOAD_BYTES_MAX {
                    let _ = stopped.set(started.elapsed().min(time));
                }
                if stopped.get().is_some() || started.elapsed() > time {
                    break;
                }
                count.fetch_add(1, Ordering::Relaxed);
            }
            session.quit().await.map_err(|e| e.to_string())
        });
    }
    join(tasks).await?;
    let took = stopped.get().copied().unwrap_or(time);
    let rate = per_second(count.load(Ordering::Relaxed), took);
    Ok(Load { rate, bytes: bytes.load(Ordering::Relaxed) })
}

/// Delivers `each` messages of 8 KiB to every user.
///
/// # Errors
/// A session could not be opened, or a message was refused.
pub(super) async fn fill(server: &Server, each: usize) -> Result<(), String> {
    let mut tasks = JoinSet::new();
    for (index, person) in server.people.iter().enumerate() {
        let target = server.doors.smtp(index % 2, Security::Plain);
        let mut session = SmtpClient::connect(&target).await.map_err(|e| e.to_string())?;
        let to = person.address.clone();
        tasks.spawn(async move {
            for number in 0..each {
                let message = corpus::small(index as u64, number as u64, disk::BYTES);
                match session.deliver("bench@client.example", &[&to], &message.bytes).await {
                    Delivery::Accepted => {}
                    other => return Err(format!("a delivery failed: {other:?}")),
                }
            }
            session.quit().await.map_err(|e| e.to_string())
        });
    }
    join(tasks).await
}

/// IMAP commands a second: `clients` sessions, each on a user's INBOX, each in turn NOOP, FETCH of
/// a whole message, STORE of a flag, FETCH of one header field, STORE that takes the flag away, for
/// `time`.
///
/// # Errors
/// A session could not be opened, a mailbox was empty, or a command failed.
pub(super) async fn imap_commands(server: &Server, clients: usize, time: Duration) -> Result<f64, String> {
    let mut sessions = Vec::new();
    for index in 0..clients {
        let person = &server.people[index % server.people.len()];
        let target = server.doors.imap(index % 2, Security::Plain);
        sessions.push(open(&target, person).await.map_err(|e| e.to_string())?);
    }
    let mut tasks = JoinSet::new();
    let (count, started) = (Arc::new(AtomicU64::new(0)), Instant::now());
    for (mut session, uids) in sessions {
        let count = Arc::clone(&count);
        tasks.spawn(async move {
            for number in 0.. {
                let uid = *uids.get(number % uids.len().max(1)).ok_or("the mailbox is empty")?;
                round(&mut session, uid).await.map_err(|e| e.to_string())?;
                if started.elapsed() > time {
                    break;
                }
                count.fetch_add(COMMANDS_A_ROUND, Ordering::Relaxed);
            }
            session.logout().await.map_err(|e| e.to_string())
        });
    }
    join(tasks).await?;
    Ok(per_second(count.load(Ordering::Relaxed), time))
}

/// A session on a user's INBOX, and the UIDs there.
async fn open(target: &Target, person: &Person) -> Result<(ImapClient, Vec<u32>), ClientError> {
    let mut session = ImapClient::login(target, &person.address, &person.password).await?;
    session.select("INBOX").await?;
    let messages = session.fetch_field(UidSet::All, "Subject").await?;
    Ok((session, messages.iter().map(|message| message.uid).collect()))
}

/// The commands of [`round`].
const COMMANDS_A_ROUND: u64 = 5;

async fn round(session: &mut ImapClient, uid: u32) -> Result<(), ClientError> {
    session.noop().await?;
    session.fetch(UidSet::One(uid)).await?;
    session.set_flag(uid, "\\Flagged", true).await?;
    session.fetch_field(UidSet::One(uid), "Subject").await?;
    session.set_flag(uid, "\\Flagged", false).await
}

async fn join(mut tasks: JoinSet<Result<(), String>>) -> Result<(), String> {
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|panic| format!("a client panicked: {panic}"))??;
    }
    Ok(())
}

fn per_second(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}
