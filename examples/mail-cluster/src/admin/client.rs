//! The operator's end of the socket.

use std::io;
use std::path::Path;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::{AdminReply, AdminRequest, AnswerLine, REPLY_MAX, RequestLine, VERSION};
use crate::error::Error;

/// Sends `request` to the member whose socket is at `path`; `progress` sees its progress lines.
///
/// # Errors
/// [`Error::Unreachable`] when no member answers there, [`Error::Failed`] when the answer breaks off.
/// A refusal is a reply, not an error.
pub async fn ask(
    path: &Path,
    request: AdminRequest,
    mut progress: impl FnMut(&str),
) -> Result<AdminReply, Error> {
    let stream = UnixStream::connect(path).await.map_err(|e| unreachable(path, &e))?;
    let broken =
        |e: io::Error| Error::failed(format!("the member at {} broke off its answer: {e}", path.display()));
    let (read, mut write) = stream.into_split();
    let mut line = serde_json::to_vec(&RequestLine { version: VERSION, request }).map_err(Error::failed)?;
    line.push(b'\n');
    write.write_all(&line).await.map_err(broken)?;
    let mut read = BufReader::new(read.take(REPLY_MAX));
    loop {
        let mut line = String::new();
        if read.read_line(&mut line).await.map_err(broken)? == 0 {
            return Err(broken(io::ErrorKind::UnexpectedEof.into()));
        }
        match serde_json::from_str(&line) {
            Ok(AnswerLine::Progress(text)) => progress(&text),
            Ok(AnswerLine::Reply(reply)) => return Ok(reply),
            Err(e) => return Err(Error::failed(format!("the member's answer is of another version: {e}"))),
        }
    }
}

fn unreachable(path: &Path, cause: &io::Error) -> Error {
    let hint = match cause.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            "the member is not running, or its data_dir is another"
        }
        io::ErrorKind::PermissionDenied => {
            "only the user that runs the member may ask it: try as that user or as root"
        }
        _ => "the member does not answer",
    };
    Error::Unreachable(format!("cannot ask {}: {cause} ({hint})", path.display()))
}
