//! A sender that does what senders do: keep the session, connect again when it breaks, send again
//! what was not answered.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::client::{ClientError, Delivery, Security, SmtpClient};
use super::ledger::{Ledger, UserIndex};
use super::people::{Doors, Person};

/// How long a client waits before it tries again.
const AGAIN_AFTER: Duration = Duration::from_millis(10);

/// After this long without a 250 a letter is given up.
const GIVE_UP_AFTER: Duration = Duration::from_secs(25);

/// What all clients of a demo share.
pub struct World {
    /// Where the cluster is.
    pub doors: Doors,
    /// The users.
    pub people: Vec<Person>,
    /// The book.
    pub ledger: Ledger,
    /// The demo's seed.
    pub seed: u64,
    /// Commands that failed, in words.
    failures: Mutex<Vec<String>>,
}

impl World {
    /// A world with an empty book.
    pub fn new(doors: Doors, people: Vec<Person>, seed: u64) -> Arc<Self> {
        Arc::new(Self { doors, people, ledger: Ledger::default(), seed, failures: Mutex::default() })
    }

    /// Notes an error, if it is a failed command.
    pub fn note(&self, who: &str, error: &ClientError) {
        if error.is_failed_command() {
            self.failures.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{who}: {error}"));
        }
    }

    /// The failed commands noted since the last call.
    pub fn take_failures(&self) -> Vec<String> {
        std::mem::take(&mut *self.failures.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One SMTP client.
pub struct Courier {
    world: Arc<World>,
    via: usize,
    security: Security,
    session: Option<(SmtpClient, Instant)>,
}

/// How one letter went.
#[derive(Debug, Clone, Copy)]
pub struct Receipt {
    /// When the session that got the 250 was opened.
    pub connected: Instant,
    /// When the 250 came.
    pub at: Instant,
    /// From the first attempt to the 250.
    pub took: Duration,
}

impl Courier {
    /// A client that will send through one of the two addresses.
    pub fn new(world: &Arc<World>, via: usize, security: Security) -> Self {
        Self { world: Arc::clone(world), via, security, session: None }
    }

    /// Sends a letter until its 250 comes. Enters it, and all that happens to it, in the book.
    ///
    /// # Errors
    /// A refusal for good (5xx), or no 250 for `GIVE_UP_AFTER`.
    pub async fn send(&mut self, id: &str, message: &[u8], to: &[UserIndex]) -> Result<Receipt, String> {
        let bytes = self.world.ledger.enter(id, message, to.to_vec(), self.via);
        let world = Arc::clone(&self.world);
        let recipients: Vec<&str> = to.iter().map(|&user| world.people[user].address.as_str()).collect();
        let started = Instant::now();
        loop {
            let error = match self.attempt(&recipients, &bytes).await {
                Ok(connected) => {
                    self.world.ledger.acknowledged(id);
                    let at = Instant::now();
                    return Ok(Receipt { connected, at, took: at - started });
                }
                Err(Delivery::ReplyLost(error)) => {
                    self.world.ledger.reply_lost(id);
                    error
                }
                Err(Delivery::Refused(error)) if is_final(&error) => return Err(format!("{id}: {error}")),
                Err(Delivery::Refused(error) | Delivery::NotSent(error)) => error,
                Err(Delivery::Accepted) => continue,
            };
            self.session = None;
            self.world.note(&format!("SMTP by address {}, {id}", self.via + 1), &error);
            if started.elapsed() > GIVE_UP_AFTER {
                return Err(format!("{id}: no 250 for {GIVE_UP_AFTER:?}; the last error: {error}"));
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    async fn attempt(&mut self, to: &[&str], bytes: &[u8]) -> Result<Instant, Delivery> {
        if self.session.is_none() {
            let connected = Instant::now();
            let target = self.world.doors.smtp(self.via, self.security);
            let client = SmtpClient::connect(&target).await.map_err(Delivery::NotSent)?;
            self.session = Some((client, connected));
        }
        let Some((client, connected)) = self.session.as_mut() else { unreachable!("opened above") };
        match client.deliver("sender@client.example", to, bytes).await {
            Delivery::Accepted => Ok(*connected),
            other => Err(other),
        }
    }

    /// Ends the session.
    pub async fn close(mut self) {
        if let Some((client, _)) = self.session.take() {
            let _ = client.quit().await;
        }
    }
}

/// A 5xx reply.
fn is_final(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused { reply, .. } if reply.starts_with('5'))
}
