//! What nodes ask each other about mail: operations, shipped whole (DESIGN §3).

use bytes::Bytes;
use posthaste_heartbeat::{Epoch, VolumeId};
use posthaste_mail_server::store::{MailboxName, Op, Reply, StoreError, User};
use serde::{Deserialize, Serialize};

/// The version of these types on the wire; another one is refused.
pub(crate) const VERSION: u8 = 2;

/// A request to the leader of a volume.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Does an operation on a user's mail, in this leadership and no other: what comes late must not
    /// be done after what the requester has done in the next one (R12).
    Call { volume: VolumeId, epoch: Epoch, user: User, op: Op },
    /// Answers when the mailbox's change count differs from `seen` (at once if `seen` is 0), or
    /// after some seconds with the same count.
    Poll { volume: VolumeId, user: User, name: MailboxName, seen: u64 },
}

/// The answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Response {
    /// The operation's reply.
    Reply(Reply),
    /// The mailbox's change count.
    Seen(u64),
    /// It was not done; `Unavailable` if this node does not lead the volume.
    Failed(StoreError),
}

/// The answer of a node that has no quorum yet.
pub(crate) fn starting() -> Bytes {
    encode(&Response::Failed(StoreError::Unavailable("the node is starting".into())))
}

/// Encodes a request or response.
pub(crate) fn encode<T: Serialize>(value: &T) -> Bytes {
    // Writing plain data to a Vec cannot fail.
    postcard::to_extend(value, vec![VERSION]).unwrap_or_default().into()
}

/// Decodes what [`encode`] wrote.
pub(crate) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, StoreError> {
    let refuse = |what: String| StoreError::Internal(format!("a peer sent {what}"));
    match bytes {
        [VERSION, body @ ..] => {
            postcard::from_bytes(body).map_err(|e| refuse(format!("a malformed message: {e}")))
        }
        [other, ..] => Err(refuse(format!("mail protocol version {other}; this is {VERSION}"))),
        [] => Err(refuse("nothing".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_survives_the_wire_and_another_version_is_refused() {
        let user = User::parse("alice@example.org").unwrap();
        let volume = VolumeId::parse("vol1").unwrap();
        let bytes = encode(&Request::Call { volume, epoch: Epoch(3), user, op: Op::List });
        assert!(matches!(decode::<Request>(&bytes), Ok(Request::Call { epoch: Epoch(3), op: Op::List, .. })));
        let mut newer = bytes.to_vec();
        newer[0] = VERSION + 1;
        assert!(
            matches!(decode::<Request>(&newer), Err(StoreError::Internal(text)) if text.contains("version 3"))
        );
        assert!(decode::<Request>(&[]).is_err());
    }
}
