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
import time

reach = json.loads(pathlib.Path(sys.argv[1]).read_text())
run_id = f"{time.time_ns():x}"
first, second = reach["addresses"]
ports = reach["ports"]
users = alice, bob = reach["users"][:2]
poplib._MAXLINE = 1 << 20  # its 2048 are for replies; mail has longer lines
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


def corpus():
    """(name, message): the files, and one large message."""
    for path in sorted(pathlib.Path(sys.argv[2]).rglob("*.eml")):
        yield path.stem, path.read_bytes()
    line = bytes(range(33, 33 + 72)) + b"\r\n"
    yield "large", b"Subject: large\r\n\r\n" + line * (5_000_000 // len(line))


def deliver():
    """smtplib on both addresses; each message to one user, or to both, who are on two volumes."""
    sent = {user["name"]: {} for user in users}
    session = {}
    for number, (name, message) in enumerate(corpus()):
        mark = f"{number:04d}-{name}-{run_id}"
        data = b"X-Foreign: " + mark.encode() + b"\r\n" + message
        if not data.endswith(b"\r\n"):
            data += b"\r\n"
        to = [[alice], [bob], [alice, bob]][number // 2 % 3]
        host = [first, second][number % 2]
        if number % 20 < 2:  # a new session now and then, half of them under TLS
            session[host] = smtp_session(host, number % 40 < 20)
        refused = session[host].sendmail("foreign@sender.example", [user["name"] for user in to], data, ["BODY=8BITMIME"])
        assert not refused, refused
        for user in to:
            sent[user["name"]][mark] = data
    for smtp in session.values():
        smtp.quit()
    return sent


def smtp_session(host, under_tls):
    smtp = smtplib.SMTP(host, ports["smtp"], timeout=20)
    smtp.ehlo()
    if under_tls:
        smtp.starttls(context=tls)
        smtp.ehlo()
    return smtp


def settle(sent):
    """Mail for users on two volumes may rest in the spool for a moment after its 250."""
    begun = time.monotonic()
    for user in users:
        while True:
            imap = imap_session(user, first)
            there = imap.uid("SEARCH", "HEADER", "X-Foreign", run_id)[1][0].split()
            imap.logout()
            if len(there) >= len(sent[user["name"]]):
                break
            assert time.monotonic() - begun < 10, f"{user['name']}: {len(there)} of {len(sent[user['name']])} messages"
            time.sleep(0.1)


def mark_of(message: bytes):
    found = re.search(rb"^X-Foreign: (\S+)\r$", message, re.M)
    return found.group(1).decode() if found else None


def compare(where, sent, messages):
    seen = {}
    for message in messages:
        mark = mark_of(message)
        if mark in sent:
            found = stripped(message)
            assert found == sent[mark], f"{where}: {mark} differs: {found[:400]!r} for {sent[mark][:400]!r}"
            seen[mark] = seen.get(mark, 0) + 1
    missing = sorted(set(sent) - set(seen))
    twice = sorted(mark for mark, count in seen.items() if count > 1)
    assert not missing and not twice, f"{where}: missing {missing}, twice {twice}"
    print(f"{where}: {len(seen)} messages, byte for byte")


def imap_session(user, host):
    imap = imaplib.IMAP4_SSL(host, ports["imaps"], ssl_context=tls, timeout=20)
    imap.login(user["name"], user["password"])
    assert imap.select("INBOX", readonly=True)[0] == "OK"
    return imap


def by_imap(user, host, sent):
    imap = imap_session(user, host)
    kind, found = imap.uid("SEARCH", None, "HEADER", "X-Foreign", '""')
    assert kind == "OK", found
    messages = []
    for uid in found[0].split():
        kind, data = imap.uid("FETCH", uid, "(BODY.PEEK[])")
        assert kind == "OK", data
        messages.append(next(part[1] for part in data if isinstance(part, tuple)))
    imap.logout()
    compare(f"imaplib, {user['name']} on {host}", sent[user["name"]], messages)


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
    compare(f"poplib, {user['name']} on {host}", sent[user["name"]], messages)


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
CertificateFile {home}/service.crt

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
        # mbsync compares host names only, never addresses, but takes a certificate that it was given.
        # This one is verified by Python, against the CA.
        pinned = ssl.get_server_certificate((host, ports["imaps"]), ca_certs=reach["ca"])
        pathlib.Path(home, "service.crt").write_text(pinned)
        mbsync(config)
        files = [path for sub in ("new", "cur") for path in pathlib.Path(home, "mail/INBOX", sub).iterdir()]
        messages = [without_tuid(path.read_bytes().replace(b"\n", b"\r\n")) for path in files]
        # It skips, and says so, what has no line that ends the header.
        whole = {mark: data for mark, data in sent[user["name"]].items() if b"\r\n\r\n" in data}
        compare(f"mbsync, {user['name']} on {host}", whole, messages)
        mbsync(config)
        assert len(files) == sum(1 for sub in ("new", "cur") for _ in pathlib.Path(home, "mail/INBOX", sub).iterdir())
        pushed = f"X-Pushed: {run_id}\nSubject: pushed\n\nfrom here\n"
        pathlib.Path(home, "mail/INBOX/cur/1.pushed.here:2,S").write_text(pushed)
        mbsync(config)
    imap = imap_session(user, host)
    found = imap.uid("SEARCH", "HEADER", "X-Pushed", run_id)[1][0].split()
    assert len(found) == 1, found
    _, data = imap.uid("FETCH", found[0], "(FLAGS BODY.PEEK[])")
    assert without_tuid(data[0][1]) == pushed.replace("\n", "\r\n").encode() and b"\\Seen" in data[0][0] + data[1], data
    imap.logout()
    print(f"mbsync: pulled, found nothing to do, pushed on {host}")


def without_tuid(message):
    """The message without the header by which mbsync finds what it copied."""
    return re.sub(rb"^X-TUID: .{12}\r\n", b"", message, count=1, flags=re.M)


def mbsync(config):
    done = subprocess.run(["mbsync", "-c", str(config), "-a"], capture_output=True, text=True, timeout=120)
    said = [line for line in done.stderr.splitlines() if line and "has incomplete header; skipping" not in line]
    assert done.returncode == 0 and not said, done.stderr


sent = deliver()
settle(sent)
for user in users:
    for host in (first, second):
        by_imap(user, host, sent)
    by_pop3(user, second, sent)
imap_commands(bob, first)
by_mbsync(alice, first, sent)
by_mbsync(bob, first, sent)
