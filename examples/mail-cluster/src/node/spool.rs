//! Mail for users on several volumes (R13): one durable record, then each recipient's delivery.
//!
//! The record is a message in the inbox of a system user of one volume, `~spool.<volume>`: what
//! makes a delivery durable makes the record durable. The volume's leader distributes it. Each
//! recipient's base name is in the record, so doing it again after a crash does nothing twice.

use std::time::{Duration, SystemTime};

use bytes::{BufMut, Bytes, BytesMut};
use posthaste_heartbeat::VolumeId;
use posthaste_mail_server::base_name;
use posthaste_mail_server::store::{
    MailStore, MailboxName, Op, Part, Recipient, Reply, StoreError, User, unix_seconds,
};

use super::route::RoutedStore;

const PREFIX: &str = "~spool.";
/// How often a leader looks at its spool without being told, for what an earlier leader left.
const LOOK: Duration = Duration::from_secs(2);
/// A recipient unknown for so many seconds was removed, and is not just new.
const GONE_FOR_GOOD: i64 = 3600;

/// The system user that holds a volume's spool.
pub(crate) fn user(volume: &VolumeId) -> User {
    let name = format!("{PREFIX}{}", volume.as_str().to_lowercase());
    User::parse(&name)
        .unwrap_or_else(|_| unreachable!("volume names have no blank, slash or control character"))
}

/// The volume whose spool this user is; `None` for people.
pub(crate) fn volume_of(user: &User) -> Option<VolumeId> {
    VolumeId::parse(user.as_str().strip_prefix(PREFIX)?).ok()
}

/// The operation that makes a message for `to` durable on `volume`.
pub(crate) fn record(
    volume: &VolumeId,
    to: Vec<Recipient>,
    body: &Bytes,
    host: &str,
) -> Result<Op, StoreError> {
    let envelope =
        postcard::to_stdvec(&to).map_err(|e| StoreError::Internal(format!("spool envelope: {e}")))?;
    let length =
        u32::try_from(envelope.len()).map_err(|_| StoreError::Refused("too many recipients".into()))?;
    let mut bytes = BytesMut::with_capacity(4 + envelope.len() + body.len());
    bytes.put_u32(length);
    bytes.put_slice(&envelope);
    bytes.put_slice(body);
    let to = vec![Recipient { user: user(volume), base: base_name(host) }];
    Ok(Op::Deliver { to, body: bytes.freeze() })
}

/// The inverse of [`record`].
fn parse(mut record: Bytes) -> Option<(Vec<Recipient>, Bytes)> {
    let length = u32::from_be_bytes(record.get(..4)?.try_into().ok()?) as usize;
    let body = record.split_off(4usize.checked_add(length).filter(|end| *end <= record.len())?);
    Some((postcard::from_bytes(&record[4..]).ok()?, body))
}

/// Distributes what the spool of `volume` holds, for as long as this node leads it (the caller
/// ends the task).
pub(crate) async fn run(volume: VolumeId, store: RoutedStore) {
    let me = user(&volume);
    loop {
        let hint = store.watch(&me, &MailboxName::inbox()).await;
        if let Err(error) = pass(&volume, &me, &store).await {
            tracing::warn!(%volume, %error, "spooled mail waits; trying again");
        }
        match hint {
            Ok(mut hint) => drop(tokio::time::timeout(LOOK, hint.recv()).await),
            Err(_) => tokio::time::sleep(LOOK).await,
        }
    }
}

async fn pass(volume: &VolumeId, me: &User, store: &RoutedStore) -> Result<(), StoreError> {
    let inbox = MailboxName::inbox();
    let Reply::Snapshot(snapshot) = store.on_volume(volume, me, Op::Open(inbox.clone())).await? else {
        return Err(StoreError::Internal("a store answered another question".into()));
    };
    let mut waits = Ok(());
    for message in snapshot.messages {
        let fetch = Op::Fetch { name: inbox.clone(), uids: vec![message.uid], part: Part::Whole };
        let Reply::Parts(parts) = store.on_volume(volume, me, fetch).await? else { continue };
        for (uid, bytes) in parts {
            // One record that must wait holds up no other.
            if let Err(error) = distribute(bytes, message.date, store).await {
                waits = Err(error);
                continue;
            }
            let gone = Op::Expunge { name: inbox.clone(), uids: Some(vec![uid]), even_undeleted: true };
            store.on_volume(volume, me, gone).await?;
        }
    }
    waits
}

/// Delivers to each recipient; an error if any of them must be tried again.
async fn distribute(record: Bytes, accepted: i64, store: &RoutedStore) -> Result<(), StoreError> {
    let Some((to, body)) = parse(record) else {
        return Err(StoreError::Internal("a spool record is malformed; it is kept".into()));
    };
    let mut waits = Ok(());
    for recipient in to {
        let user = recipient.user.clone();
        match store.call(&user, Op::Deliver { to: vec![recipient], body: body.clone() }).await {
            Ok(_) => {}
            // The account was removed after the 250: there is nobody left to deliver to. But a new
            // account may not be known here yet.
            Err(StoreError::NoUser(user)) if unix_seconds(SystemTime::now()) - accepted > GONE_FOR_GOOD => {
                tracing::warn!(user, "spooled mail for a removed account is dropped");
            }
            Err(error) => waits = Err(error),
        }
    }
    waits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_holds_recipients_and_the_message_byte_for_byte() {
        let volume = VolumeId::parse("vol1").unwrap();
        let to = vec![Recipient { user: User::parse("a@x").unwrap(), base: base_name("h") }];
        let body = Bytes::from_static(b"Subject: x\r\n\r\n.\r\n");
        let Op::Deliver { to: holder, body: record } = record(&volume, to.clone(), &body, "h").unwrap()
        else {
            panic!("a record is a delivery");
        };
        assert_eq!(volume_of(&holder[0].user), Some(volume));
        assert_eq!(parse(record.clone()), Some((to, body)));
        for cut in 0..10 {
            assert_eq!(parse(record.slice(..cut)), None);
        }
    }

    #[test]
    fn people_have_no_spool() {
        assert_eq!(volume_of(&User::parse("alice@example.org").unwrap()), None);
    }
}
