//! What can go wrong.

/// The exchange is over: answer as the protocol wants (501, `-ERR`, `NO`), and begin a new one for another try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SaslError {
    /// The peer's message is not base64.
    #[error("not base64")]
    NotBase64,
    /// The peer's message does not have the mechanism's form.
    #[error("malformed SASL message")]
    Malformed,
    /// The peer's message is longer than [`crate::MESSAGE_MAX`].
    #[error("SASL message of more than {limit} octets")]
    TooLong {
        /// The limit.
        limit: usize,
    },
    /// The client's proof is wrong: a wrong password.
    #[error("wrong credentials")]
    WrongProof,
    /// The server's signature is wrong: it does not know the user's keys. Do not trust it.
    #[error("the server could not prove who it is")]
    WrongSignature,
    /// The peer binds to another TLS channel than this one, or claims that we can't: somebody is in between.
    #[error("wrong channel binding")]
    WrongBinding,
    /// The server asks for fewer hashes than is safe, or more than is sane.
    #[error("iteration count out of bounds")]
    Iterations,
    /// A message where none belongs.
    #[error("SASL message out of order")]
    OutOfOrder,
    /// Our own side gave what the mechanism can't use: other credentials, a bad nonce.
    #[error("{0} does not fit the mechanism")]
    Unfit(&'static str),
}
