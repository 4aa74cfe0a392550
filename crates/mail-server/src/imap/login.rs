//! LOGIN and AUTHENTICATE.

use posthaste_imap_proto::{Code, Secret, Status, StatusKind, base64};

use super::answer::{Answer, End, Stop, bad, no, ok, refusal};
use super::driver::Driver;
use super::session::Session;
use crate::sasl::{Exchange, Step};
use crate::wire::Wire;

/// Wrong passwords until the session is ended.
const FAILURES_MAX: u32 = 5;

impl Session<'_> {
    fn login_refusal(&self) -> Option<Status<'static>> {
        if self.user.is_some() {
            return Some(bad("you are logged in"));
        }
        (!self.may_log_in()).then(|| no(Code::PrivacyRequired, "passwords only under TLS"))
    }

    pub(super) async fn login(&mut self, login: &[u8], password: &[u8]) -> Answer {
        if let Some(status) = self.login_refusal() {
            return Ok(status);
        }
        match std::str::from_utf8(login) {
            Ok(login) => self.check(login, password).await,
            Err(_) => self.wrong_password("(not UTF-8)").await,
        }
    }

    async fn check(&mut self, login: &str, password: &[u8]) -> Answer {
        match self.context.directory.authenticate(login, password).await {
            Ok(Some(user)) => {
                tracing::debug!(client = %self.peer.addr, %user, "logged in");
                self.user = Some(user);
                self.failures = 0;
                Ok(ok("welcome").with_code(Code::Capability(self.capabilities())))
            }
            Ok(None) => self.wrong_password(login).await,
            Err(error) => {
                tracing::warn!(client = %self.peer.addr, %error, "login could not be checked");
                Ok(refusal(&error))
            }
        }
    }

    async fn wrong_password(&mut self, login: &str) -> Answer {
        tracing::info!(client = %self.peer.addr, login = ?login, "login failed");
        tokio::time::sleep(self.context.limits.login_failure_delay).await;
        self.failures += 1;
        if self.failures >= FAILURES_MAX {
            return Err(Stop::End(End::Bye(Status::new(StatusKind::Bye, "too many wrong passwords"))));
        }
        Ok(no(Code::AuthenticationFailed, "login or password is wrong"))
    }
}

impl Driver<'_> {
    pub(super) async fn authenticate(
        &mut self,
        wire: &mut Wire,
        mechanism: &str,
        initial: Option<Secret<'static>>,
    ) -> Answer {
        if let Some(status) = self.session.login_refusal() {
            return Ok(status);
        }
        let exchange = Exchange::new(mechanism).filter(|_| mechanism.eq_ignore_ascii_case("PLAIN"));
        let Some(mut exchange) = exchange else {
            return Ok(no(Code::Cannot, "unknown mechanism"));
        };
        let mut response = initial.map(|secret| {
            let mut text = Vec::new();
            base64::encode(secret.expose(), &mut text);
            text
        });
        loop {
            let step = match response.take() {
                Some(text) => exchange.respond(&text),
                None => Ok(exchange.challenge()),
            };
            match step {
                Ok(Step::Challenge(challenge)) => {
                    response = Some(self.ask(wire, &challenge).await?);
                }
                Ok(Step::Done(credentials)) => {
                    return self.session.check(&credentials.login, &credentials.password).await;
                }
                Err(_) => return Ok(bad("malformed SASL response")),
            }
        }
    }

    /// A challenge and its response, still in base64.
    async fn ask(&mut self, wire: &mut Wire, challenge: &str) -> Result<Vec<u8>, Stop> {
        wire.out.extend_from_slice(format!("+ {challenge}\r\n").as_bytes());
        self.input.decoder.expect_line();
        match self.line(wire).await? {
            Some(line) if line == b"*" => Err(bad("login given up").into()),
            Some(line) => Ok(line),
            None => Err(bad("malformed SASL response").into()),
        }
    }
}
