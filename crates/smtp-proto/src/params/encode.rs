//! Parameters as they stand on the wire.

use std::fmt;

use super::{AuthSender, Body, Hold, MailParams, Notify, Parameter, RcptParams, Ret, release};
use crate::command::put;
use crate::text::Text;
use crate::xtext;

impl MailParams<'_> {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        if let Some(size) = self.size {
            put(out, format_args!(" SIZE={size}"));
        }
        if let Some(body) = self.body {
            put(out, format_args!(" BODY={body}"));
        }
        if self.smtputf8 {
            out.extend(b" SMTPUTF8");
        }
        match &self.auth {
            None => {}
            Some(AuthSender::Unknown) => out.extend(b" AUTH=<>"),
            Some(AuthSender::Address(address)) => put_xtext(out, " AUTH=", address),
        }
        match self.ret {
            None => {}
            Some(Ret::Full) => out.extend(b" RET=FULL"),
            Some(Ret::Headers) => out.extend(b" RET=HDRS"),
        }
        if let Some(envid) = &self.envid {
            put_xtext(out, " ENVID=", envid);
        }
        if self.requiretls {
            out.extend(b" REQUIRETLS");
        }
        self.encode_times(out);
        put_other(out, self.other());
    }

    fn encode_times(&self, out: &mut Vec<u8>) {
        if let Some(priority) = self.mt_priority {
            put(out, format_args!(" MT-PRIORITY={}", priority.clamp(-9, 9)));
        }
        if let Some(by) = self.by() {
            put(out, format_args!(" BY={by}"));
        }
        match self.hold() {
            None => {}
            Some(Hold::For(seconds)) => {
                put(out, format_args!(" HOLDFOR={}", seconds.clamp(1, release::SECONDS_MAX)));
            }
            Some(Hold::Until(time)) => put(out, format_args!(" HOLDUNTIL={time}")),
        }
    }
}

impl RcptParams<'_> {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        if let Some(notify) = self.notify {
            put(out, format_args!(" NOTIFY={notify}"));
        }
        if let Some(orcpt) = &self.orcpt {
            put(out, format_args!(" ORCPT={};", orcpt.address_type()));
            xtext::encode(orcpt.address(), out);
        }
        put_other(out, &self.other);
    }
}

fn put_xtext(out: &mut Vec<u8>, name: &str, text: &Text<'_>) {
    out.extend(name.as_bytes());
    xtext::encode(text.as_str(), out);
}

fn put_other(out: &mut Vec<u8>, other: &[Parameter<'_>]) {
    for Parameter { name, value } in other {
        match value {
            Some(value) => put(out, format_args!(" {name}={value}")),
            None => put(out, format_args!(" {name}")),
        }
    }
}

impl fmt::Display for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Body::SevenBit => "7BIT",
            Body::EightBitMime => "8BITMIME",
            Body::BinaryMime => "BINARYMIME",
        })
    }
}

impl fmt::Display for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Notify::On { success, failure, delay } = *self else { return f.write_str("NEVER") };
        let names = [(success, "SUCCESS"), (failure, "FAILURE"), (delay, "DELAY")];
        let mut separator = "";
        for (_, name) in names.into_iter().filter(|(wanted, _)| *wanted) {
            write!(f, "{separator}{name}")?;
            separator = ",";
        }
        if separator.is_empty() { f.write_str("NEVER") } else { Ok(()) }
    }
}
