//! IMAP4rev1, IMAP4rev2 and the extensions that most servers have.

use super::dialogue::examples;

// Lines of the client and of the server; lines that are wrong, and lines that are none.
examples! {
    rfc_3691_unselect, "base/rfc3691.txt", (1, 1), (0, 0);
    rfc_5161_enable, "base/rfc5161.txt", (4, 8), (0, 0);
}
