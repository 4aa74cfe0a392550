//! The server's side.

use crate::messages::{OAuth, external, oauth_bearer, plain, text, xoauth2};
use crate::scram::{ClientFirst, Gs2, ServerFirst, attribute, binding_text, hash, mac, same, xor};
use crate::{
    ChannelBinding, Credentials, MESSAGE_MAX, Mechanism, Nonce, SaslError, ScramKeys, Secret, decode, encode,
};

/// What the server is to do.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Send this, and give the answer to [`Server::respond`].
    Challenge(Vec<u8>),
    /// Look up the keys of `login` (or [`ScramKeys::decoy`]) and give them to [`Server::keys`].
    Keys {
        /// Whose.
        login: String,
    },
    /// All is said: check this. If a token is refused, [`Server::refuse_token`] has a last challenge.
    Check(Credentials),
    /// SCRAM's proof was right.
    Done {
        /// Who the client is.
        login: String,
        /// For whom he acts, if for another.
        authzid: Option<String>,
    },
}

/// An exchange, on the server's side: [`Server::respond`] for each message of the client's, until it says `Check`, `Done` or an
/// error. A mechanism that is no SCRAM needs no nonce: [`Server::new`].
#[derive(Debug)]
pub struct Server {
    mechanism: Mechanism,
    nonce: Option<Nonce>,
    binding: Option<ChannelBinding>,
    state: State,
}

#[derive(Debug)]
enum State {
    First,
    LoginPassword {
        login: String,
    },
    ScramKeys(Box<Scram>),
    ScramProof {
        scram: Box<Scram>,
        keys: ScramKeys,
    },
    ScramEnd(Box<Scram>),
    /// The refusal of a token was sent; only its acknowledgement is missing.
    Refused,
    Over,
}

#[derive(Debug)]
struct Scram {
    login: String,
    authzid: Option<String>,
    nonce: String,
    /// What `c=` must say.
    binding: String,
    client_first: String,
    server_first: String,
}

impl Server {
    /// For a mechanism that is not SCRAM; with one that is, the first message is out of order.
    pub fn new(mechanism: Mechanism) -> Self {
        Self { mechanism, nonce: None, binding: None, state: State::First }
    }

    /// For SCRAM. `binding` is the TLS channel's, to be given whenever the -PLUS mechanism was offered, also if the client
    /// chose the other: it shows whether somebody in between hid the offer.
    pub fn scram(mechanism: Mechanism, nonce: Nonce, binding: Option<ChannelBinding>) -> Self {
        Self { mechanism, nonce: Some(nonce), binding, state: State::First }
    }

    /// What to send if AUTH came without an initial response. The texts of LOGIN are what clients look for.
    pub fn first_challenge(&self) -> &'static [u8] {
        if self.mechanism == Mechanism::Login { b"Username:" } else { b"" }
    }

    /// Takes a message of the client's, the initial response included. After an error the exchange is over.
    pub fn respond(&mut self, message: &[u8]) -> Result<Step, SaslError> {
        if message.len() > MESSAGE_MAX {
            return Err(SaslError::TooLong { limit: MESSAGE_MAX });
        }
        match std::mem::replace(&mut self.state, State::Over) {
            State::First => self.first(message),
            State::LoginPassword { login } => Ok(Step::Check(Credentials::password(login, message))),
            State::ScramProof { scram, keys } => self.proof(scram, &keys, message),
            State::ScramEnd(scram) if message.is_empty() => {
                Ok(Step::Done { login: scram.login, authzid: scram.authzid })
            }
            State::Refused => Err(SaslError::WrongProof),
            State::ScramKeys(_) | State::ScramEnd(_) | State::Over => Err(SaslError::OutOfOrder),
        }
    }

    fn first(&mut self, message: &[u8]) -> Result<Step, SaslError> {
        match self.mechanism {
            Mechanism::Plain => plain(message).map(Step::Check),
            Mechanism::OAuthBearer => match oauth_bearer(message)? {
                OAuth::Token(credentials) => Ok(Step::Check(credentials)),
                OAuth::Query => {
                    self.state = State::Refused;
                    Ok(Step::Challenge(self.refuse_token().to_vec()))
                }
            },
            Mechanism::XOAuth2 => xoauth2(message).map(Step::Check),
            Mechanism::External => external(message).map(Step::Check),
            Mechanism::Login => {
                self.state = State::LoginPassword { login: text(message)?.to_owned() };
                Ok(Step::Challenge(b"Password:".to_vec()))
            }
            Mechanism::ScramSha256 | Mechanism::ScramSha256Plus => self.scram_first(message),
        }
    }

    fn scram_first(&mut self, message: &[u8]) -> Result<Step, SaslError> {
        let own = self.nonce.take().ok_or(SaslError::OutOfOrder)?;
        let first = ClientFirst::parse(message)?;
        let bound = self.bound(&first.gs2)?;
        let scram = Scram {
            login: first.login.clone(),
            authzid: first.authzid,
            nonce: format!("{}{}", first.nonce, own.as_str()),
            binding: binding_text(first.header, bound),
            client_first: first.bare.to_owned(),
            server_first: String::new(),
        };
        self.state = State::ScramKeys(Box::new(scram));
        Ok(Step::Keys { login: first.login })
    }

    /// The binding that the client's proof must hold (RFC 5802 §6).
    fn bound(&self, gs2: &Gs2<'_>) -> Result<Option<&ChannelBinding>, SaslError> {
        let plus = self.mechanism == Mechanism::ScramSha256Plus;
        match (gs2, &self.binding) {
            (Gs2::Bound(name), Some(binding)) if plus && *name == binding.name => Ok(Some(binding)),
            (Gs2::Unoffered, None) | (Gs2::Unable, _) if !plus => Ok(None),
            _ => Err(SaslError::WrongBinding),
        }
    }

    /// Takes the keys that [`Step::Keys`] asked for; the challenge to send.
    pub fn keys(&mut self, keys: ScramKeys) -> Result<Vec<u8>, SaslError> {
        let State::ScramKeys(mut scram) = std::mem::replace(&mut self.state, State::Over) else {
            return Err(SaslError::OutOfOrder);
        };
        scram.server_first = ServerFirst::text(&scram.nonce, &keys);
        let challenge = scram.server_first.clone().into_bytes();
        self.state = State::ScramProof { scram, keys };
        Ok(challenge)
    }

    fn proof(&mut self, scram: Box<Scram>, keys: &ScramKeys, message: &[u8]) -> Result<Step, SaslError> {
        let message = text(message)?;
        let (without_proof, proof) = message.rsplit_once(",p=").ok_or(SaslError::Malformed)?;
        let mut attributes = without_proof.split(',');
        let binding = attribute(attributes.next(), "c=")?;
        let nonce = attribute(attributes.next(), "r=")?;
        if binding != scram.binding {
            return Err(SaslError::WrongBinding);
        }
        if nonce != scram.nonce {
            return Err(SaslError::Malformed);
        }
        let proof: [u8; 32] = decode(proof.as_bytes())?.try_into().map_err(|_| SaslError::Malformed)?;
        let auth = format!("{},{},{without_proof}", scram.client_first, scram.server_first);
        let client_key = xor(&proof, &mac(&keys.stored_key, auth.as_bytes()));
        if !same(&hash(&client_key), &keys.stored_key) {
            return Err(SaslError::WrongProof);
        }
        let signature = encode(&mac(&keys.server_key, auth.as_bytes()));
        self.state = State::ScramEnd(scram);
        Ok(Step::Challenge(format!("v={signature}").into_bytes()))
    }

    /// A token was refused: the challenge that says so (RFC 7628 §3.2.2). Whatever the client answers, the login has failed.
    pub fn refuse_token(&self) -> &'static [u8] {
        br#"{"status":"invalid_token"}"#
    }

    /// The secret part of a TLS exporter binding, under its registered name (RFC 9266).
    pub fn tls_exporter(data: impl Into<Vec<u8>>) -> ChannelBinding {
        ChannelBinding { name: "tls-exporter".to_owned(), data: Secret::new(data) }
    }
}
