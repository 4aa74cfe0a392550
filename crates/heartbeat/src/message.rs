//! What agents say to each other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{ClusterId, Incarnation, MembershipEpoch, NodeId, Time};

/// The version of the encoding that this crate writes; others are refused.
pub const VERSION: u8 = 1;

/// Longest encoded message, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// "I am here", every 100 ms to every member; to a voter it also asks for a lease (R5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// Which cluster the sender belongs to.
    pub cluster: ClusterId,
    /// The sender's life.
    pub incarnation: Incarnation,
    /// When it was sent, on the sender's clock; echoed by the grant.
    pub sent: Time,
    /// The stint for which a lease is asked; none if the sender is not in.
    pub stint: Option<MembershipEpoch>,
    /// For each other member: milliseconds since the sender last heard from it.
    pub silent_ms: BTreeMap<NodeId, u32>,
}

/// One message between two agents. Any may be lost, late or doubled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Message {
    /// A heartbeat.
    Beat(Beat),
    /// A voter's answer to a beat that asked for a lease.
    Grant {
        /// The beat's `sent`.
        sent: Time,
        /// The beat's stint.
        stint: MembershipEpoch,
        /// Whether it was granted.
        granted: bool,
    },
    /// A successor asks a voter for the age of its last grant to `holder` (R5).
    AskAge {
        /// Whose lease.
        holder: NodeId,
        /// The stint that is over.
        stint: MembershipEpoch,
        /// When it was asked, on the asker's clock; echoed.
        sent: Time,
    },
    /// The answer. It also promises never to grant to that stint again.
    Age {
        /// Whose lease.
        holder: NodeId,
        /// The stint that is over.
        stint: MembershipEpoch,
        /// The question's `sent`.
        sent: Time,
        /// Nanoseconds since the last grant, or since the voter's start.
        age_nanos: u64,
    },
}

/// Why bytes are no [`Message`]. Drop them; nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadMessage {
    /// A newer or unknown version.
    #[error("message version {0} is not {VERSION}; is the peer of another release?")]
    Version(u8),
    /// Too long.
    #[error("a message of {0} bytes exceeds {MESSAGE_BYTES_MAX}")]
    TooLong(usize),
    /// Not a message.
    #[error("the bytes are no message")]
    Malformed,
}

impl Message {
    /// The bytes to send: a version byte and the body.
    pub fn encode(&self) -> Vec<u8> {
        // Writing plain data to a Vec cannot fail.
        postcard::to_extend(self, vec![VERSION]).unwrap_or_default()
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// [`BadMessage`]: drop the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadMessage> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(BadMessage::TooLong(bytes.len()));
        }
        match bytes {
            [VERSION, body @ ..] => postcard::from_bytes(body).map_err(|_| BadMessage::Malformed),
            [other, ..] => Err(BadMessage::Version(*other)),
            [] => Err(BadMessage::Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_wire_and_strangers_are_refused() {
        let message = Message::Beat(Beat {
            cluster: ClusterId(7),
            incarnation: Incarnation(1),
            sent: Time::from_millis(12),
            stint: Some(MembershipEpoch(3)),
            silent_ms: [(NodeId(2), 40)].into(),
        });
        let bytes = message.encode();
        assert_eq!(Message::decode(&bytes), Ok(message));
        assert_eq!(Message::decode(&[]), Err(BadMessage::Malformed));
        assert_eq!(Message::decode(&[9, 1]), Err(BadMessage::Version(9)));
        for cut in 1..bytes.len() {
            assert_eq!(Message::decode(&bytes[..cut]), Err(BadMessage::Malformed));
        }
        assert!(matches!(Message::decode(&[1; MESSAGE_BYTES_MAX + 1]), Err(BadMessage::TooLong(_))));
    }
}
