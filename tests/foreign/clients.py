#!/usr/bin/env python3
"""Delivers to and reads from a running cluster with mail programs that we did not write.

Usage: clients.py REACH.json CORPUS_DIR
REACH.json is what `posthaste demo --keep` writes: addresses, ports, users, the CA file.
"""
import imaplib
import json
import pathlib
import poplib
import re
import smtplib
import ssl
import subprocess
import sys
import tempfile

reach = json.loads(pathlib.Path(sys.argv[1]).read_text())
corpus = sorted(pathlib.Path(sys.argv[2]).rglob("*.eml"))
first, second = reach["addresses"]
ports = reach["ports"]
alice, bob = reach["users"][:2]
tls = ssl.create_default_context(cafile=reach["ca"])


def stripped(message: bytes) -> bytes:
    """The message below the trace header that delivery put on top (Return-Path to Received)."""
    lines = message.split(b"\r\n")
    at = 0
    while re.match(rb"(Return-Path|Received|Delivered-To|X-Original-To):", lines[at], re.I):
        at += 1
        while lines[at][:1] in (b" ", b"\t"):
            at += 1
    return b"\r\n".join(lines[at:])


def marked(data: bytes, mark: str) -> bytes:
    return b"X-Foreign: " + mark.encode() + b"\r\n" + data


def deliver():
    """smtplib on both addresses, each message to two users, who may be on two volumes."""
    sent = {}
    for number, path in enumerate(corpus[:60]):
        mark = f"{number:04d}-{path.stem}"
        data = marked(path.read_bytes(), mark)
        if not data.endswith(b"\r\n"):
            data += b"\r\n"
        with smtplib.SMTP([first, second][number % 2], ports["smtp"], timeout=20) as smtp:
            smtp.ehlo()
            if number % 3 == 0:
                smtp.starttls(context=tls)
                smtp.ehlo()
            refused = smtp.sendmail("foreign@sender.example", [alice["name"], bob["name"]], data, ["BODY=8BITMIME"])
            assert not refused, refused
        sent[mark] = data
    return sent


def mark_of(message: bytes):
    found = re.search(rb"^X-Foreign: (\S+)\r$", message, re.M)
    return found.group(1).decode() if found else None


def compare(where, sent, messages):
    seen = {}
    for message in messages:
        mark = mark_of(message)
        if mark in sent:
            assert stripped(message) == sent[mark], f"{where}: {mark} differs"
            seen[mark] = seen.get(mark, 0) + 1
    missing = sorted(set(sent) - set(seen))
    twice = sorted(mark for mark, count in seen.items() if count > 1)
    assert not missing and not twice, f"{where}: missing {missing}, twice {twice}"
    print(f"{where}: {len(seen)} messages, byte for byte")


def by_imap(user, host, sent):
    imap = imaplib.IMAP4_SSL(host, ports["imaps"], ssl_context=tls, timeout=20)
    imap.login(user["name"], user["password"])
    assert imap.select("INBOX", readonly=True)[0] == "OK"
    kind, found = imap.uid("SEARCH", None, "HEADER", "X-Foreign", '""')
    assert kind == "OK", found
    messages = []
    for uid in found[0].split():
        kind, data = imap.uid("FETCH", uid, "(BODY.PEEK[])")
        assert kind == "OK", data
        messages.append(next(part[1] for part in data if isinstance(part, tuple)))
    imap.logout()
    compare(f"imaplib, {user['name']} on {host}", sent, messages)


def imap_commands(user, host):
    """Flags, copy, append, expunge, as a client uses them."""
    imap = imaplib.IMAP4(host, ports["imap"], timeout=20)
    imap.starttls(ssl_context=tls)
    imap.login(user["name"], user["password"])
    imap.create("Foreign.Sub")
    imap.subscribe("Foreign.Sub")
    kind, data = imap.append("Foreign.Sub", r"(\Seen $Label1)", '" 1-Jan-2026 10:00:00 +0000"', b"Subject: one\r\n\r\nbody\r\n")
    assert kind == "OK" and b"APPENDUID" in data[0], data
    assert imap.select("Foreign.Sub")[0] == "OK"
    assert imap.store("1", "+FLAGS", r"(\Flagged)")[0] == "OK"
    kind, data = imap.fetch("1", "(FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE)")
    assert kind == "OK" and b"\\Flagged" in data[0] and b"\\Seen" in data[0], data
    assert imap.copy("1", "INBOX")[0] == "OK"
    assert imap.store("1", "+FLAGS", r"(\Deleted)")[0] == "OK"
    kind, data = imap.expunge()
    assert kind == "OK" and data == [b"1"], data
    imap.close()
    assert imap.delete("Foreign.Sub")[0] == "OK"
    imap.logout()
    print(f"imaplib: append, store, fetch, copy, expunge, delete on {host}")


def by_pop3(user, host, sent):
    pop = poplib.POP3_SSL(host, ports["pop3s"], context=tls, timeout=20)
    pop.user(user["name"])
    pop.pass_(user["password"])
    count, _ = pop.stat()
    uids = pop.uidl()[1]
    assert len(uids) == count and len(set(line.split()[1] for line in uids)) == count
    messages = [b"\r\n".join(pop.retr(number + 1)[1]) + b"\r\n" for number in range(count)]
    pop.quit()
    compare(f"poplib, {user['name']} on {host}", sent, messages)


def by_mbsync(user, host, sent):
    with tempfile.TemporaryDirectory() as home:
        config = pathlib.Path(home, "mbsyncrc")
        config.write_text(f"""
IMAPStore far
Host {host}
Port {ports["imaps"]}
User {user["name"]}
Pass {user["password"]}
SSLType IMAPS
CertificateFile {reach["ca"]}

MaildirStore near
Path {home}/mail/
Inbox {home}/mail/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns INBOX
Create Near
SyncState *
""")
        pathlib.Path(home, "mail").mkdir()
        for _ in range(2):  # the second run must find nothing to do
            run = subprocess.run(["mbsync", "-c", str(config), "-a"], capture_output=True, text=True, timeout=120)
            assert run.returncode == 0, run.stderr
        files = [p for d in ("new", "cur") for p in pathlib.Path(home, "mail/INBOX", d).iterdir()]
        # mbsync stores LF line ends and adds its own X-TUID while it copies.
        messages = [p.read_bytes().replace(b"\n", b"\r\n") for p in files]
        expected = {mark: data for mark, data in sent.items() if b"\r\n".join(data.split(b"\r\n")) == data and b"\r" not in data.replace(b"\r\n", b"")}
        compare(f"mbsync, {user['name']} on {host}", expected, messages)


sent = deliver()
for user in (alice, bob):
    for host in (first, second):
        by_imap(user, host, sent)
by_pop3(alice, second, sent)
imap_commands(bob, first)
by_mbsync(alice, first, sent)
