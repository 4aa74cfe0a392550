"""imaplib against our IMAP service: what is appended comes back octet for octet, and the usual commands do what they say.

usage: imap.py HOST PORT LOGIN PASSWORD
"""

import imaplib
import sys

MESSAGES = [
    b"Subject: plain\r\n\r\nbody\r\n",
    b"Subject: empty body\r\n\r\n",
    b"Subject: 8-bit\r\n\r\nGr\xc3\xbc\xc3\x9fe \xff\xfe\r\n",
    b"Subject: dots\r\n\r\n.\r\n..\r\n.x\r\n",
    b"Subject: long line\r\n\r\n" + b"x" * 20000 + b"\r\n",
    b"MIME-Version: 1.0\r\nSubject: parts\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    b"--b\r\n\r\none\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\ntwo\r\n--b--\r\n",
    b"Subject: large\r\n\r\n" + b"0123456789\r\n" * 100000,
]


def check(what, got, wanted):
    if got != wanted:
        sys.exit(f"{what}: {got!r:.300} instead of {wanted!r:.300}")


def ok(answer):
    status, data = answer
    if status != "OK":
        sys.exit(f"{status} {data!r}")
    return data


def append_and_read(imap):
    for message in MESSAGES:
        ok(imap.append("Drafts", "(\\Draft)", None, message))
    check("messages", ok(imap.select("Drafts")), [b"%d" % len(MESSAGES)])
    check("all", ok(imap.uid("SEARCH", None, "ALL")), [b" ".join(b"%d" % n for n in range(1, len(MESSAGES) + 1))])
    for number, message in enumerate(MESSAGES, 1):
        data = ok(imap.uid("FETCH", str(number), "(RFC822.SIZE BODY.PEEK[])"))
        check("the message", data[0][1], message)
        check("its size", f"RFC822.SIZE {len(message)} ".encode() in data[0][0], True)
    check("a part", ok(imap.fetch("6", "(BODY.PEEK[2.1])"))[0][1], b"two")
    check("by subject", ok(imap.search(None, "SUBJECT", "dots")), [b"4"])
    check("by text", ok(imap.search(None, "TEXT", "inner")), [b"6"])


def change(imap):
    ok(imap.store("1:3", "+FLAGS", "(\\Deleted $Old)"))
    check("deleted", ok(imap.search(None, "DELETED", "KEYWORD", "$Old")), [b"1 2 3"])
    ok(imap.copy("4:5", "INBOX"))
    ok(imap.expunge())
    check("left", ok(imap.search(None, "ALL")), [b"1 2 3 4"])
    check("UIDs left", ok(imap.uid("SEARCH", None, "ALL")), [b"4 5 6 7"])
    ok(imap.close())
    check("copied", ok(imap.status("INBOX", "(MESSAGES)")), [b"INBOX (MESSAGES 2)"])


def main():
    host, port, login, password = sys.argv[1:]
    imap = imaplib.IMAP4(host, int(port))
    ok(imap.login(login, password))
    ok(imap.create("Drafts"))
    ok(imap.subscribe("Drafts"))
    check("listed", b"Drafts" in b" ".join(ok(imap.list())), True)
    check("subscribed", b"Drafts" in b" ".join(ok(imap.lsub())), True)
    append_and_read(imap)
    change(imap)
    ok(imap.rename("Drafts", "Old.Drafts"))
    ok(imap.delete("Old.Drafts"))
    imap.logout()
    print("same")


main()
