//! Reading mailboxes whole, as a mail client would.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::client::{ClientError, ImapClient, Pop3Client, Security, UidSet};
use super::courier::World;
use super::ledger::{Dump, UserIndex};

/// How many mailboxes are read at once.
const READERS: usize = 4;

/// Reads every user's INBOX through an address.
///
/// # Errors
/// The first command that failed, with the user it failed for.
pub async fn all(world: &Arc<World>, via: usize) -> Result<Vec<Dump>, String> {
    let permits = Arc::new(Semaphore::new(READERS));
    let mut tasks = JoinSet::new();
    for user in 0..world.people.len() {
        let (world, permits) = (Arc::clone(world), Arc::clone(&permits));
        tasks.spawn(async move {
            let _permit = permits.acquire_owned().await.map_err(|e| e.to_string())?;
            let security = [Security::Plain, Security::Tls, Security::StartTls][user % 3];
            one(&world, via, user, security).await.map_err(|error| {
                format!("reading {} by address {}: {error}", world.people[user].address, via + 1)
            })
        });
    }
    let mut dumps = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        dumps.push(ended.map_err(|panic| format!("a reader panicked: {panic}"))??);
    }
    dumps.sort_by_key(|dump| dump.user);
    Ok(dumps)
}

/// Reads one user's INBOX.
///
/// # Errors
/// The command that failed.
pub async fn one(
    world: &World,
    via: usize,
    user: UserIndex,
    security: Security,
) -> Result<Dump, ClientError> {
    let person = &world.people[user];
    let target = world.doors.imap(via, security);
    let mut client = ImapClient::login(&target, &person.address, &person.password).await?;
    let selected = client.select("INBOX").await?;
    let messages = if selected.exists == 0 { Vec::new() } else { client.fetch(UidSet::All).await? };
    client.logout().await?;
    Ok(Dump { user, selected, messages })
}

/// Reads one user's mail by POP3: the unique ids and the messages, in order.
///
/// # Errors
/// The command that failed.
pub async fn pop3(
    world: &World,
    via: usize,
    user: UserIndex,
    security: Security,
) -> Result<(Vec<String>, Vec<Vec<u8>>), ClientError> {
    let person = &world.people[user];
    let target = world.doors.pop3(via, security);
    let mut client = Pop3Client::login(&target, &person.address, &person.password).await?;
    let (ids, messages) = (client.uidl().await?, client.retrieve_all().await?);
    client.quit().await?;
    Ok((ids, messages))
}
