"""Delivers by smtplib (SMTP, LMTP, submission under TLS) and reads back by poplib (under TLS), comparing octets.

    smtp_pop3.py CERTIFICATE HOST SMTP_PORT LMTP_PORT SUBMISSION_PORT POP3_PORT

Prints what differs and exits 1, or prints "same" and exits 0.
"""

import poplib
import smtplib
import ssl
import sys

ALICE, BOB, PASSWORD = "alice@example.org", "bob@example.org", "a secret"
HEADER = b"From: carol@example.com\r\nTo: alice@example.org\r\nSubject: "

MESSAGES = [
    HEADER + b"plain\r\n\r\nhello\r\n",
    HEADER + b"dots\r\n\r\n.\r\n..\r\n...\r\n.x\r\n\r\n.\r\n",
    HEADER + b"no body\r\n",
    HEADER + b"empty body\r\n\r\n",
    HEADER + b"8 bit\r\n\r\nGr\xc3\xbc\xc3\x9fe \xff\xfe\x80\r\n",
    HEADER + b"long line\r\n\r\n" + b"x" * 100_000 + b"\r\n",
    HEADER + b"blank lines\r\n\r\n\r\n\r\n\r\n",
    HEADER + b"large\r\n\r\n" + b".line of a large message\r\n" * 60_000,
]


def check(what, seen, wanted):
    if seen != wanted:
        print(f"{what}: {seen!r:.300} instead of {wanted!r:.300}")
        sys.exit(1)


def without_trace(message):
    """Cuts the header lines that the server put on top: all through the first Received."""
    lines = message.split(b"\r\n")
    at = next(i for i, line in enumerate(lines) if line.startswith(b"Received:")) + 1
    while lines[at].startswith(b"\t"):
        at += 1
    return b"\r\n".join(lines[at:])


def deliver(host, smtp_port, lmtp_port):
    with smtplib.SMTP(host, smtp_port, timeout=30) as smtp:
        smtp.ehlo("client.example.com")
        check("SIZE offered", smtp.has_extn("size"), True)
        for message in MESSAGES:
            check("refused recipients", smtp.sendmail("carol@example.com", [ALICE], message, ["BODY=8BITMIME"]), {})
        try:
            smtp.sendmail("carol@example.com", ["nobody@example.org"], MESSAGES[0])
            check("an unknown user", "accepted", "refused")
        except smtplib.SMTPRecipientsRefused as error:
            check("an unknown user", error.recipients["nobody@example.org"][0], 550)
    with smtplib.LMTP(host, lmtp_port, timeout=30) as lmtp:
        check("refused recipients", lmtp.sendmail("carol@example.com", [ALICE], MESSAGES[0]), {})


def submit(host, port, tls):
    with smtplib.SMTP(host, port, timeout=30) as smtp:
        smtp.ehlo("client.example.com")
        check("AUTH in the clear", smtp.has_extn("auth"), False)
        smtp.starttls(context=tls)
        try:
            smtp.login(BOB, "wrong")
            check("a wrong password", "accepted", "refused")
        except smtplib.SMTPAuthenticationError as error:
            check("a wrong password", error.smtp_code, 535)
        smtp.login(BOB, PASSWORD)
        check("refused recipients", smtp.sendmail(BOB, [BOB], MESSAGES[1]), {})


def login(host, port, tls, user=ALICE):
    pop = poplib.POP3(host, port, timeout=30)
    poplib._MAXLINE = 200_000
    check("STLS offered", "STLS" in pop.capa(), True)
    pop.stls(tls)
    pop.user(user)
    pop.pass_(PASSWORD)
    return pop


def read_back(host, port, tls):
    pop = login(host, port, tls)
    count, octets = pop.stat()
    expected = MESSAGES + [MESSAGES[0]]
    check("messages", count, len(expected))
    listed = pop.list()[1]
    ids = pop.uidl()[1]
    check("unique ids", len({line.split()[1] for line in ids}), count)
    total = 0
    for number, wanted in enumerate(expected, start=1):
        lines = pop.retr(number)[1]
        message = b"".join(line + b"\r\n" for line in lines)
        check(f"message {number}", without_trace(message), wanted)
        check(f"size of message {number}", listed[number - 1], b"%d %d" % (number, len(message)))
        total += len(message)
    check("octets", octets, total)
    top = pop.top(1, 1)[1]
    check("TOP", (top[-1], top[-2]), (b"hello", b""))
    pop.dele(1)
    pop.quit()

    pop = login(host, port, tls)
    check("messages after DELE", pop.stat()[0], count - 1)
    check("unique ids after DELE", [line.split()[1] for line in pop.uidl()[1]], [line.split()[1] for line in ids[1:]])
    pop.quit()

    pop = login(host, port, tls, BOB)
    message = b"".join(line + b"\r\n" for line in pop.retr(1)[1])
    check("the submitted message", without_trace(message), MESSAGES[1])
    pop.quit()


def trusting(certificate):
    """Trusts this certificate alone; it is for another name than the loopback address."""
    with open(certificate, "rb") as file:
        tls = ssl.create_default_context(cadata=file.read())
    tls.check_hostname = False
    return tls


def main():
    certificate, host = sys.argv[1:3]
    smtp_port, lmtp_port, submission_port, pop3_port = map(int, sys.argv[3:])
    tls = trusting(certificate)
    deliver(host, smtp_port, lmtp_port)
    submit(host, submission_port, tls)
    read_back(host, pop3_port, tls)
    print("same")


main()
