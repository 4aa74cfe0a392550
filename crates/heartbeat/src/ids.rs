//! Names and numbers, each its own type.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A member of the cluster: a node or a witness. Chosen by the operator, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {}", self.0)
    }
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        pub struct $name(pub u128);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }
    };
}

random_id!(
    /// A backing device of a volume: random, written into it when it was initialised.
    DeviceId
);
random_id!(
    /// A voter's durable store: random, written into it when it was created (R7).
    StoreId
);
random_id!(
    /// The cluster: random, made by its `init`. A store or a peer of another cluster is refused.
    ClusterId
);

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        pub struct $name(pub u64);

        impl $name {
            /// The one after this.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter!(
    /// One leadership of one volume. Grows with every change of leader and every reopening (R4).
    Epoch
);
counter!(
    /// Counts the changes of one volume or address; the other half of its compare-and-set.
    Revision
);
counter!(
    /// Counts the times that an operator overrode the quorum (R8). Stamped on devices: one that
    /// shows another generation is never opened under this state (R1).
    Generation
);
counter!(
    /// Counts changes of membership; fences are compare-and-set on it (R6).
    MembershipEpoch
);

/// One life of a member's process: a random number chosen at start, compared for equality only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The name of a volume: 1 to 64 of `a-z A-Z 0-9 - _ .`, not starting with a dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VolumeId(String);

/// The text is no volume name: 1 to 64 of `a-z A-Z 0-9 - _ .`, not starting with a dot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no volume name: 1 to 64 of a-z A-Z 0-9 - _ . and no leading dot")]
pub struct BadVolumeId(String);

impl VolumeId {
    /// Parses a name.
    ///
    /// # Errors
    /// [`BadVolumeId`] when it is empty, too long or has another character.
    pub fn parse(name: &str) -> Result<Self, BadVolumeId> {
        let fits = (1..=64).contains(&name.len()) && !name.starts_with('.');
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if fits && name.bytes().all(plain) {
            Ok(Self(name.to_owned()))
        } else {
            Err(BadVolumeId(name.chars().take(80).collect()))
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for VolumeId {
    type Err = BadVolumeId;
    fn from_str(name: &str) -> Result<Self, BadVolumeId> {
        Self::parse(name)
    }
}

impl TryFrom<String> for VolumeId {
    type Error = BadVolumeId;
    fn try_from(name: String) -> Result<Self, BadVolumeId> {
        Self::parse(&name)
    }
}

impl From<VolumeId> for String {
    fn from(id: VolumeId) -> Self {
        id.0
    }
}

impl fmt::Display for VolumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volume_names_are_parsed_not_trusted() {
        for good in ["vol1", "a", "Vol_2.x-y"] {
            assert_eq!(VolumeId::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", ".hidden", "a/b", "ä", "a b", &"x".repeat(65)] {
            assert!(VolumeId::parse(bad).is_err(), "{bad:?}");
        }
        let foreign = postcard::to_stdvec("../etc").unwrap();
        assert!(postcard::from_bytes::<VolumeId>(&foreign).is_err());
    }
}
