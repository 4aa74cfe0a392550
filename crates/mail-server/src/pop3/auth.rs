//! Login: USER and PASS, or AUTH (RFC 5034).

use posthaste_pop3_proto::{Reply, ResponseCode, Secret};

use super::mailbox::Mailbox;
use super::session::{Next, Session, put_line};
use super::temporary;
use crate::sasl::{Credentials, Exchange, MECHANISMS, Step};
use crate::store::User;
use crate::wire::Wire;

/// Wrong passwords until the session is ended.
const FAILURES_MAX: u32 = 5;

/// How far the login has come.
#[derive(Default)]
pub(super) struct Login {
    /// From USER.
    pub(super) name: Option<String>,
    exchange: Option<Exchange>,
    failures: u32,
}

impl Login {
    pub(super) fn abort(&mut self) {
        self.exchange = None;
    }
}

impl Session<'_> {
    /// Whether a password may be sent now.
    pub(super) fn offers_login(&self) -> bool {
        self.mailbox.is_none() && (self.tls || self.context.plaintext_login)
    }

    pub(super) fn list_mechanisms(&mut self, wire: &mut Wire) -> Next {
        let next = self.reply(&Reply::ok("mechanisms:"), wire);
        MECHANISMS.into_iter().chain(["."]).for_each(|line| put_line(line, wire));
        next
    }

    pub(super) async fn begin_auth(
        &mut self,
        mechanism: &str,
        initial: Option<&Secret<'_>>,
        wire: &mut Wire,
    ) -> Next {
        let Some(exchange) = Exchange::new(mechanism) else {
            return self.reply(&Reply::err("unknown mechanism"), wire);
        };
        let challenge = exchange.challenge();
        self.login.exchange = Some(exchange);
        match initial {
            Some(secret) => self.continue_auth(secret.expose(), wire).await,
            None => self.step(challenge, wire).await,
        }
    }

    pub(super) async fn continue_auth(&mut self, response: &[u8], wire: &mut Wire) -> Next {
        let step = match &mut self.login.exchange {
            Some(exchange) => exchange.respond(response),
            None => return self.reply(&Reply::err("AUTH first"), wire),
        };
        match step {
            Ok(step) => self.step(step, wire).await,
            Err(_) => {
                self.login.abort();
                self.reply(&Reply::err("malformed SASL response"), wire)
            }
        }
    }

    async fn step(&mut self, step: Step, wire: &mut Wire) -> Next {
        match step {
            Step::Challenge(challenge) => {
                put_line(&format!("+ {challenge}"), wire);
                Next::Sasl
            }
            Step::Done(credentials) => {
                self.login.abort();
                self.log_in(credentials, wire).await
            }
        }
    }

    pub(super) async fn log_in(&mut self, credentials: Credentials, wire: &mut Wire) -> Next {
        match self.context.directory.authenticate(&credentials.login, &credentials.password).await {
            Ok(Some(user)) => self.open(user, wire).await,
            Ok(None) => self.wrong_password(&credentials.login, wire).await,
            Err(error) => {
                tracing::warn!(client = %self.peer.addr, %error, "login could not be checked");
                self.reply(&temporary("cannot check passwords now, try later"), wire)
            }
        }
    }

    async fn open(&mut self, user: User, wire: &mut Wire) -> Next {
        match Mailbox::open(self.context, user).await {
            Ok(mailbox) => {
                let stat = mailbox.stat();
                self.mailbox = Some(mailbox);
                self.reply(&Reply::ok(format!("{} messages, {} octets", stat.messages, stat.octets)), wire)
            }
            Err(error) => {
                tracing::warn!(client = %self.peer.addr, %error, "mailbox could not be opened");
                self.reply(&temporary("the mail store is not available, try later"), wire)
            }
        }
    }

    async fn wrong_password(&mut self, login: &str, wire: &mut Wire) -> Next {
        tracing::info!(client = %self.peer.addr, login = ?login, "login failed");
        tokio::time::sleep(self.context.limits.login_failure_delay).await;
        self.login.failures += 1;
        let next = self.reply(&Reply::err("login or password is wrong").with_code(ResponseCode::Auth), wire);
        if self.login.failures < FAILURES_MAX { next } else { Next::Close }
    }
}
