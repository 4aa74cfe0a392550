//! The client's side.

use crate::messages::{put_oauth_bearer, put_plain, put_xoauth2, text};
use crate::scram::{ServerFirst, binding_text, derive, escape, hash, mac, same, xor};
use crate::{
    ChannelBinding, Credentials, ITERATIONS_MIN, MESSAGE_MAX, Mechanism, Nonce, SaslError, Secret, decode,
    encode,
};

/// An exchange, on the client's side: send [`Client::initial`] (with AUTH, or as the answer to the first, empty challenge), answer
/// each challenge with what [`Client::respond`] gives, and call [`Client::finish`] when the server says that the login is done.
#[derive(Debug)]
pub struct Client {
    mechanism: Mechanism,
    credentials: Credentials,
    nonce: Nonce,
    binding: Option<ChannelBinding>,
    state: State,
}

#[derive(Debug)]
enum State {
    First,
    /// The signature that the server must show.
    Signature(Secret),
    /// All is said.
    Said,
    /// A message was refused.
    Failed,
}

impl Client {
    /// With `binding` given a client that is not offered the -PLUS mechanism says so, and the server can tell if it was.
    pub fn new(
        mechanism: Mechanism,
        credentials: Credentials,
        nonce: Nonce,
        binding: Option<ChannelBinding>,
    ) -> Result<Self, SaslError> {
        let fits = match (&credentials, mechanism) {
            (Credentials::Token { .. }, Mechanism::OAuthBearer | Mechanism::XOAuth2)
            | (Credentials::External { .. }, Mechanism::External) => true,
            (Credentials::Password { login, password, authzid }, mechanism) => {
                let nul = |text: &[u8]| text.contains(&0);
                let whole = !login.is_empty() && !nul(login.as_bytes()) && !nul(password.expose());
                let named = authzid.as_ref().is_none_or(|authzid| !nul(authzid.as_bytes()));
                let takes = matches!(mechanism, Mechanism::Plain | Mechanism::Login);
                whole && named && (takes || is_scram(mechanism))
            }
            _ => false,
        };
        if !fits {
            return Err(SaslError::Unfit("credentials"));
        }
        if mechanism == Mechanism::ScramSha256Plus && binding.is_none() {
            return Err(SaslError::Unfit("no channel binding"));
        }
        Ok(Self { mechanism, credentials, nonce, binding, state: State::First })
    }

    /// The first message; of no use to LOGIN, where the server speaks first.
    pub fn initial(&self) -> Vec<u8> {
        match (&self.credentials, self.mechanism) {
            (Credentials::Password { login, authzid, password }, Mechanism::Plain) => {
                put_plain(login, authzid.as_deref(), password)
            }
            (Credentials::Token { login, token }, Mechanism::OAuthBearer) => {
                put_oauth_bearer(login.as_deref(), token)
            }
            (Credentials::Token { login, token }, _) => put_xoauth2(login.as_deref(), token),
            (Credentials::External { authzid }, _) => authzid.clone().unwrap_or_default().into_bytes(),
            (Credentials::Password { .. }, Mechanism::Login) => Vec::new(),
            (Credentials::Password { .. }, _) => {
                format!("{}{}", self.header(), self.first_bare()).into_bytes()
            }
        }
    }

    /// The answer to a challenge.
    pub fn respond(&mut self, challenge: &[u8]) -> Result<Vec<u8>, SaslError> {
        if challenge.len() > MESSAGE_MAX {
            return Err(SaslError::TooLong { limit: MESSAGE_MAX });
        }
        match (std::mem::replace(&mut self.state, State::Failed), self.mechanism) {
            (State::First, Mechanism::Login) => self.login(challenge),
            (State::First, mechanism) if is_scram(mechanism) && !challenge.is_empty() => {
                self.proof(challenge)
            }
            (State::Signature(expected), _) => self.signature(challenge, &expected),
            // The answer to a refusal, which has to be answered before it is said (RFC 7628 §3.2.3).
            (State::First, Mechanism::OAuthBearer) if !challenge.is_empty() => Ok(b"\x01".to_vec()),
            (State::First, Mechanism::XOAuth2) if !challenge.is_empty() => Ok(Vec::new()),
            (State::First, _) => {
                self.state = State::First;
                Ok(self.initial())
            }
            _ => Err(SaslError::OutOfOrder),
        }
    }

    /// The server says that all is well: an error if it has not proved what it had to prove.
    pub fn finish(&self) -> Result<(), SaslError> {
        match self.state {
            State::Said => Ok(()),
            State::First if !is_scram(self.mechanism) => Ok(()),
            _ => Err(SaslError::WrongSignature),
        }
    }

    /// The texts are a custom, so what is asked for is told by its place: the name, then the password.
    fn login(&mut self, challenge: &[u8]) -> Result<Vec<u8>, SaslError> {
        let Credentials::Password { login, password, .. } = &self.credentials else {
            return Err(SaslError::OutOfOrder);
        };
        let asks_password = challenge.to_ascii_lowercase().starts_with(b"pass");
        self.state = if asks_password { State::Said } else { State::First };
        Ok(if asks_password { password.expose().to_vec() } else { login.clone().into_bytes() })
    }

    fn header(&self) -> String {
        let flag = match (&self.binding, self.mechanism) {
            (Some(binding), Mechanism::ScramSha256Plus) => format!("p={}", binding.name),
            (Some(_), _) => "y".to_owned(),
            (None, _) => "n".to_owned(),
        };
        match &self.credentials {
            Credentials::Password { authzid: Some(name), .. } => format!("{flag},a={},", escape(name)),
            _ => format!("{flag},,"),
        }
    }

    fn first_bare(&self) -> String {
        let login = match &self.credentials {
            Credentials::Password { login, .. } => login.as_str(),
            _ => "",
        };
        format!("n={},r={}", escape(login), self.nonce.as_str())
    }

    fn proof(&mut self, challenge: &[u8]) -> Result<Vec<u8>, SaslError> {
        let challenge = text(challenge)?;
        let first = ServerFirst::parse(challenge)?;
        let longer = first.nonce.strip_prefix(self.nonce.as_str()).is_some_and(|own| !own.is_empty());
        if !longer {
            return Err(SaslError::Malformed);
        }
        if first.iterations < ITERATIONS_MIN {
            return Err(SaslError::Iterations);
        }
        let Credentials::Password { password, .. } = &self.credentials else {
            return Err(SaslError::OutOfOrder);
        };
        let (client_key, server_key) = derive(password.expose(), &first.salt, first.iterations)?;
        let bound = self.binding.as_ref().filter(|_| self.mechanism == Mechanism::ScramSha256Plus);
        let without_proof = format!("c={},r={}", binding_text(&self.header(), bound), first.nonce);
        let auth = format!("{},{challenge},{without_proof}", self.first_bare());
        let proof = xor(&client_key, &mac(&hash(&client_key), auth.as_bytes()));
        self.state = State::Signature(Secret::new(mac(&server_key, auth.as_bytes())));
        Ok(format!("{without_proof},p={}", encode(&proof)).into_bytes())
    }

    fn signature(&mut self, challenge: &[u8], expected: &Secret) -> Result<Vec<u8>, SaslError> {
        let signature = text(challenge)?.strip_prefix("v=").ok_or(SaslError::WrongSignature)?;
        if !same(&decode(signature.as_bytes())?, expected.expose()) {
            return Err(SaslError::WrongSignature);
        }
        self.state = State::Said;
        Ok(Vec::new())
    }
}

fn is_scram(mechanism: Mechanism) -> bool {
    matches!(mechanism, Mechanism::ScramSha256 | Mechanism::ScramSha256Plus)
}
