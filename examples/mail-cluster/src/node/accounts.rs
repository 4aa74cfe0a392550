//! Who exists: accounts in the quorum's key-value space, so that login needs no other database.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use posthaste_heartbeat::VolumeId;
use posthaste_heartbeat::consensus::Committed;
use posthaste_heartbeat::state::State;
use posthaste_mail_server::store::{Directory, Resolved, StoreError, User};
use tokio::sync::{Semaphore, watch};

use crate::accounts::{self, Account};

/// The account of a user, if there is one.
pub(crate) fn find(state: &State, user: &User) -> Option<Account> {
    accounts::decode(state.kv.get(&accounts::key(user.as_str()))?).ok()
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
    state: watch::Receiver<Committed>,
    domains: Vec<String>,
    /// A password hash takes some MiB and milliseconds: not more at once than there are cores.
    hashing: Arc<Semaphore>,
    /// Passwords that were right, by the hash they were right for: a mail client logs in often.
    known: Mutex<HashMap<String, accounts::Remembered>>,
}

/// Remembered logins; when there are more, all are forgotten.
const KNOWN_MAX: usize = 10_000;

impl ClusterDirectory {
    /// A directory of `domains`.
    pub(crate) fn new(state: watch::Receiver<Committed>, domains: Vec<String>) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self { state, domains, hashing: Arc::new(Semaphore::new(cores)), known: Mutex::default() }
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
        let state = self.state.borrow().state.clone();
        if !state.is_initialised() {
            return Resolved::TryLater;
        }
        // RFC 5233: a detail after `+` belongs to the same mailbox.
        let plain = local.split('+').next().unwrap_or(local);
        let candidates = [local, plain].map(|name| self.user(&format!("{name}@{domain}")));
        let found = candidates.into_iter().flatten().find(|user| find(&state, user).is_some());
        found.map_or(Resolved::NoSuchUser, Resolved::User)
    }

    async fn authenticate(&self, login: &str, password: &[u8]) -> Result<Option<User>, StoreError> {
        let state = self.state.borrow().state.clone();
        if !state.is_initialised() {
            return Err(StoreError::Unavailable("the accounts are not known here yet".into()));
        }
        let user = self.user(login);
        let hash = user.as_ref().and_then(|user| find(&state, user)).map(|account| account.hash);
        if let (Some(user), Some(hash)) = (&user, &hash)
            && self.is_known(hash, password)
        {
            return Ok(Some(user.clone()));
        }
        if !self.verify(hash.clone(), password).await? {
            return Ok(None);
        }
        if let Some(hash) = hash {
            self.remember(hash, password);
        }
        Ok(user)
    }
}
