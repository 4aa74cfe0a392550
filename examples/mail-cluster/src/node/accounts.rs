//! Who exists: accounts in the quorum's key-value space, so that login needs no other database.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use posthaste_heartbeat::VolumeId;
use posthaste_heartbeat::consensus::{Committed, Consensus};
use posthaste_heartbeat::state::State;
use posthaste_mail_server::store::{Directory, Resolved, StoreError, User};
use tokio::sync::{Semaphore, watch};

use crate::accounts::{self, Account};

/// The account of a user, if there is one.
pub(crate) fn find(state: &State, user: &User) -> Option<Account> {
    accounts::decode(state.kv.get(&accounts::key(user.as_str()))?).ok()
}

/// Whether there is an account. A record that cannot be read is one.
fn exists(state: &State, user: &User) -> bool {
    state.kv.contains_key(&accounts::key(user.as_str()))
}

/// The volume of a user's mail. A record that cannot be read is an error, not a missing user.
pub(crate) fn volume_of(state: &State, user: &User) -> Result<VolumeId, StoreError> {
    let record = state.kv.get(&accounts::key(user.as_str()));
    let record = record.ok_or_else(|| StoreError::NoUser(user.to_string()))?;
    let account = accounts::decode(record).map_err(|e| StoreError::Internal(format!("{user}: {e}")))?;
    Ok(account.volume)
}

/// The cluster's accounts as mail services ask for them.
pub(crate) struct ClusterDirectory {
    consensus: Arc<dyn Consensus>,
    state: watch::Receiver<Committed>,
    domains: Vec<String>,
    /// A password hash takes some MiB and milliseconds: not more at once than there are cores.
    hashing: Arc<Semaphore>,
    /// Passwords that were right, by the hash they were right for: a mail client logs in often.
    known: Mutex<HashMap<String, accounts::Remembered>>,
}

/// Remembered logins; when there are more, all are forgotten.
const KNOWN_MAX: usize = 10_000;

/// Longest wait for the quorum's newest state.
const FRESH: Duration = Duration::from_secs(5);

impl ClusterDirectory {
    /// A directory of `domains`.
    pub(crate) fn new(consensus: Arc<dyn Consensus>, domains: Vec<String>) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let (state, hashing) = (consensus.watch(), Arc::new(Semaphore::new(cores)));
        Self { consensus, state, domains, hashing, known: Mutex::default() }
    }

    /// What is known here; may lag behind, so that it proves who exists, and not who does not.
    fn near(&self) -> Option<Arc<State>> {
        Some(self.state.borrow().state.clone()).filter(|state| state.is_initialised())
    }

    /// All that had been committed when this was called, if a quorum says so in time.
    async fn fresh(&self) -> Option<Arc<State>> {
        let read = tokio::time::timeout(FRESH, self.consensus.read_linearizable()).await;
        Some(read.ok()?.ok()?.state).filter(|state| state.is_initialised())
    }

    fn user(&self, login: &str) -> Option<User> {
        let login = login.trim().to_ascii_lowercase();
        let full = match (login.contains('@'), self.domains.first()) {
            (false, Some(domain)) => format!("{login}@{domain}"),
            _ => login,
        };
        User::parse(&full).ok()
    }

    fn is_known(&self, hash: &str, password: &[u8]) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(hash).is_some_and(|remembered| remembered.matches(password))
    }

    fn remember(&self, hash: String, password: &[u8]) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(hash, accounts::Remembered::new(password));
    }

    async fn is_right(&self, hash: Option<String>, password: &[u8]) -> Result<bool, StoreError> {
        if hash.as_ref().is_some_and(|hash| self.is_known(hash, password)) {
            return Ok(true);
        }
        let right = self.verify(hash.clone(), password).await?;
        if let Some(hash) = hash.filter(|_| right) {
            self.remember(hash, password);
        }
        Ok(right)
    }

    async fn verify(&self, hash: Option<String>, password: &[u8]) -> Result<bool, StoreError> {
        let _turn = self.hashing.acquire().await;
        let password = password.to_vec();
        // An unknown user costs the same time as a wrong password.
        let verified = tokio::task::spawn_blocking(move || match hash {
            Some(hash) => accounts::verify(&hash, &password),
            None => accounts::verify_nobody(&password),
        });
        verified.await.map_err(|e| StoreError::Internal(format!("password check: {e}")))
    }
}

#[async_trait]
impl Directory for ClusterDirectory {
    async fn resolve(&self, local: &str, domain: &str) -> Resolved {
        if !self.domains.iter().any(|ours| ours.eq_ignore_ascii_case(domain)) {
            return Resolved::NotLocal;
        }
        // RFC 5233: a detail after `+` belongs to the same mailbox.
        let plain = local.split('+').next().unwrap_or(local);
        let candidates = [local, plain].map(|name| self.user(&format!("{name}@{domain}")));
        let known = |state: &State| candidates.iter().flatten().find(|user| exists(state, user)).cloned();
        if let Some(user) = self.near().and_then(|state| known(&state)) {
            return Resolved::User(user);
        }
        // A 550 is for good: it takes more than not having heard of the user yet.
        match self.fresh().await {
            Some(state) => known(&state).map_or(Resolved::NoSuchUser, Resolved::User),
            None => Resolved::TryLater,
        }
    }

    async fn authenticate(&self, login: &str, password: &[u8]) -> Result<Option<User>, StoreError> {
        let unknown = || StoreError::Unavailable("the accounts are not known here yet".into());
        let Some(user) = self.user(login) else {
            self.verify(None, password).await?;
            return Ok(None);
        };
        let hash_in = |state: &State| find(state, &user).map(|account| account.hash);
        let near = hash_in(&*self.near().ok_or_else(unknown)?);
        if near.is_some() && self.is_right(near.clone(), password).await? {
            return Ok(Some(user));
        }
        // The account or its password may be new.
        let fresh = hash_in(&*self.fresh().await.ok_or_else(unknown)?);
        let again = fresh.is_none() || fresh != near;
        Ok((again && self.is_right(fresh, password).await?).then_some(user))
    }
}
