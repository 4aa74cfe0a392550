//! APPEND: the message streams into memory under the node's budget, then into the store.

use std::num::NonZeroU32;

use bytes::Bytes;
use posthaste_imap_proto::{
    AppendHead, Code, Event, FrameError, LiteralKind, LiteralSpec, ParseError, SequenceSet, Status,
    StatusKind, Tag,
};

use super::answer::{Answer, End, Stop, bad, no, odd_reply, ok, target_refusal};
use super::driver::Driver;
use super::messages::store_flags;
use super::select::store_name;
use super::session::Session;
use crate::base_name;
use crate::server::{Budget, Reserved};
use crate::store::{Flags, MailboxName, Op, Reply};
use crate::wire::Wire;

/// Memory is reserved in steps of this size.
const STEP: usize = 64 * 1024;

/// Where a message goes, and how.
struct Target {
    name: MailboxName,
    flags: Flags,
    date: Option<i64>,
}

/// A message being collected. It grows with what came, never by what was announced.
struct Body {
    budget: Budget,
    held: Reserved,
    reserved: usize,
    octets: Vec<u8>,
    /// The budget was used up; the rest is dropped.
    failed: bool,
}

impl Body {
    fn new(budget: Budget) -> Self {
        Self { budget, held: Reserved::default(), reserved: 0, octets: Vec::new(), failed: false }
    }

    fn push(&mut self, chunk: &[u8]) {
        let need = self.octets.len() + chunk.len();
        if need > self.reserved && !self.failed {
            let step = (need - self.reserved).next_multiple_of(STEP);
            if self.budget.take(&mut self.held, step) {
                self.reserved += step;
            } else {
                self.failed = true;
                self.octets = Vec::new();
                self.held = Reserved::default();
            }
        }
        if !self.failed {
            self.octets.extend_from_slice(chunk);
        }
    }
}

impl Driver<'_> {
    pub(super) async fn append(
        &mut self,
        wire: &mut Wire,
        literal: LiteralSpec,
        head: Result<(Tag<'static>, AppendHead<'static>), ParseError>,
    ) -> Result<(), End> {
        let (tag, head) = match head {
            Ok(head) => head,
            Err(error) => {
                self.input.decoder.refuse_message();
                return self.complain(wire, error.tag, Status::new(StatusKind::Bad, error.kind.to_string()));
            }
        };
        let answer = self.take_message(wire, literal, head).await;
        self.finish(wire, tag, answer, true).await
    }

    async fn take_message(
        &mut self,
        wire: &mut Wire,
        literal: LiteralSpec,
        head: AppendHead<'static>,
    ) -> Answer {
        let target = match target(&head, literal) {
            Ok(target) => target,
            Err(stop) => {
                self.input.decoder.refuse_message();
                return Err(stop);
            }
        };
        self.input.decoder.accept_message();
        if literal.sync {
            wire.out.extend_from_slice(b"+ OK\r\n");
        }
        let mut body = Body::new(self.session.context.budget.clone());
        self.collect(wire, &mut body).await?;
        if body.failed {
            return Ok(no(Code::Unavailable, "too much mail is in flight, try later"));
        }
        let Body { octets, held: _held, .. } = body;
        self.session.append(target, with_crlf(octets)).await
    }

    async fn collect(&mut self, wire: &mut Wire, body: &mut Body) -> Result<(), Stop> {
        loop {
            let more = match self.input.decode() {
                Event::MessageChunk(chunk) => {
                    body.push(chunk);
                    false
                }
                Event::MessageEnd(_) => return Ok(()),
                Event::Error(FrameError { kind, .. }) => {
                    return Err(Status::new(StatusKind::Bad, kind.to_string()).into());
                }
                _ => true,
            };
            if more {
                self.fill(wire).await?;
            }
        }
    }
}

fn target(head: &AppendHead<'_>, literal: LiteralSpec) -> Result<Target, Stop> {
    if literal.binary {
        return Err(no(Code::UnknownCte, "no binary messages").into());
    }
    if head.kind != LiteralKind::Message || head.replaces.is_some() {
        return Err(bad("that extension is not known here").into());
    }
    let Some(flags) = store_flags(&head.flags) else { return Err(bad("unknown system flag").into()) };
    Ok(Target { name: store_name(&head.mailbox)?, flags, date: head.date.map(|d| d.unix()) })
}

impl Session<'_> {
    async fn append(&mut self, target: Target, body: Bytes) -> Answer {
        let Target { name, flags, date } = target;
        if let Some(view) = self.view.as_mut().filter(|view| view.name == name) {
            view.hinted = true;
        }
        let base = base_name(&self.context.hostname);
        let op = Op::Append { name, base, flags, date, body };
        let Reply::Appended { uid_validity, uid } = self.call(op).await.map_err(|e| target_refusal(&e))?
        else {
            return Err(odd_reply());
        };
        let done = ok("appended");
        Ok(match (NonZeroU32::new(uid_validity), SequenceSet::single(uid)) {
            (Some(uid_validity), Some(uids)) => done.with_code(Code::AppendUid { uid_validity, uids }),
            _ => done,
        })
    }
}

/// The store holds CRLF; a client that sent bare LFs gets them back as CRLF.
fn with_crlf(octets: Vec<u8>) -> Bytes {
    let bare = |at: usize| at == 0 || octets[at - 1] != b'\r';
    if !memchr::memchr_iter(b'\n', &octets).any(bare) {
        return Bytes::from(octets);
    }
    let mut out = Vec::with_capacity(octets.len() + octets.len() / 32);
    let mut from = 0;
    for at in memchr::memchr_iter(b'\n', &octets).filter(|at| bare(*at)) {
        out.extend_from_slice(&octets[from..at]);
        out.push(b'\r');
        from = at;
    }
    out.extend_from_slice(&octets[from..]);
    Bytes::from(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_lf_in_an_appended_message_becomes_crlf() {
        for (sent, kept) in
            [("a\nb\r\nc\n", "a\r\nb\r\nc\r\n"), ("\n\n", "\r\n\r\n"), ("x\r\n", "x\r\n"), ("", "")]
        {
            assert_eq!(with_crlf(sent.into()), kept.as_bytes());
        }
    }

    #[test]
    fn a_message_beyond_the_budget_is_dropped_and_the_budget_given_back() {
        let budget = Budget::new(3 * STEP);
        let mut body = Body::new(budget.clone());
        (0..4).for_each(|_| body.push(&[b'x'; STEP]));
        assert!(body.failed && body.octets.is_empty());
        assert!(budget.take(&mut Reserved::default(), 3 * STEP));
    }
}
