//! Login on the submission service (RFC 4954).

use posthaste_smtp_proto::{Keyword, Reply, Secret};

use super::session::{Next, Session};
use crate::sasl::{Credentials, Exchange, Step};
use crate::server::Service;
use crate::store::User;

/// Wrong passwords until the session is ended.
const FAILURES_MAX: u32 = 5;

/// Who the client is, or what is known of it so far.
#[derive(Default)]
pub(super) struct Auth {
    user: Option<User>,
    exchange: Option<Exchange>,
    failures: u32,
}

impl Auth {
    pub(super) fn user(&self) -> Option<&User> {
        self.user.as_ref()
    }

    pub(super) fn abort(&mut self) {
        self.exchange = None;
    }
}

impl Session<'_> {
    /// Whether AUTH is to be had now.
    pub(super) fn offers_auth(&self) -> bool {
        self.service == Service::Submission && (self.tls || self.context.plaintext_login)
    }

    pub(super) async fn begin_auth(
        &mut self,
        mechanism: &Keyword<'_>,
        initial: Option<&Secret<'_>>,
        out: &mut Vec<u8>,
    ) -> Next {
        let exchange = match self.may_log_in() {
            Ok(()) => Exchange::new(mechanism.as_str()),
            Err(reply) => return self.reply(&reply, out),
        };
        let Some(exchange) = exchange else {
            return self.reply(&Reply::new(504, (5, 4), "unknown mechanism"), out);
        };
        let challenge = exchange.challenge();
        self.auth.exchange = Some(exchange);
        match initial {
            Some(secret) => self.continue_auth(secret.expose().as_bytes(), out).await,
            None => self.step(challenge, out).await,
        }
    }

    fn may_log_in(&self) -> Result<(), Reply> {
        if self.service != Service::Submission {
            return Err(Reply::new(502, (5, 1), "no login on this service"));
        }
        if !self.offers_auth() {
            return Err(Reply::new(538, (7, 11), "login only under TLS"));
        }
        let greeted = self.client.as_ref().is_some_and(|client| client.extended);
        if !greeted || self.auth.user.is_some() || self.in_transaction() {
            return Err(Reply::new(503, (5, 1), "not now"));
        }
        Ok(())
    }

    pub(super) async fn continue_auth(&mut self, response: &[u8], out: &mut Vec<u8>) -> Next {
        let Some(exchange) = &mut self.auth.exchange else {
            return self.reply(&Reply::new(503, (5, 1), "AUTH first"), out);
        };
        match exchange.respond(response) {
            Ok(step) => self.step(step, out).await,
            Err(_) => {
                self.auth.abort();
                self.reply(&Reply::new(501, (5, 2), "malformed SASL response"), out)
            }
        }
    }

    async fn step(&mut self, step: Step, out: &mut Vec<u8>) -> Next {
        match step {
            Step::Challenge(challenge) => {
                Reply::plain(334, challenge).encode(out);
                Next::Sasl
            }
            Step::Done(credentials) => {
                self.auth.abort();
                self.log_in(credentials, out).await
            }
        }
    }

    async fn log_in(&mut self, credentials: Credentials, out: &mut Vec<u8>) -> Next {
        match self.context.directory.authenticate(&credentials.login, &credentials.password).await {
            Ok(Some(user)) => {
                self.auth.user = Some(user);
                self.reply(&Reply::new(235, (7, 0), "welcome"), out)
            }
            Ok(None) => self.wrong_password(&credentials.login, out).await,
            Err(error) => {
                tracing::warn!(client = %self.peer.addr, %error, "login could not be checked");
                self.reply(&Reply::new(454, (7, 0), "cannot check passwords now, try later"), out)
            }
        }
    }

    async fn wrong_password(&mut self, login: &str, out: &mut Vec<u8>) -> Next {
        tracing::info!(client = %self.peer.addr, login = ?login, "login failed");
        tokio::time::sleep(self.context.limits.login_failure_delay).await;
        self.auth.failures += 1;
        let next = self.reply(&Reply::new(535, (7, 8), "login or password is wrong"), out);
        if self.auth.failures < FAILURES_MAX {
            return next;
        }
        Reply::new(421, (7, 0), "too many wrong passwords, closing").encode(out);
        Next::Close
    }
}
