//! IMAP4rev1, IMAP4rev2 and the extensions that most servers have.

use super::dialogue::examples;

// Lines of the client and of the server; lines that are wrong, and lines that are none.
examples! {
    rfc_3501_imap4rev1, "base/rfc3501.txt", (86, 186), (3, 5);
    rfc_9051_imap4rev2, "base/rfc9051.txt", (231, 519), (12, 13);
    rfc_2177_idle, "base/rfc2177.txt", (8, 19), (1, 2);
    rfc_2193_mailbox_referrals, "base/rfc2193.txt", (15, 33), (4, 3);
    rfc_2195_cram_md5, "base/rfc2195.txt", (2, 3), (0, 0);
    rfc_2221_login_referrals, "base/rfc2221.txt", (3, 4), (0, 0);
    rfc_2342_namespace, "base/rfc2342.txt", (17, 34), (1, 0);
    rfc_2971_id, "base/rfc2971.txt", (2, 4), (0, 0);
    rfc_3348_children, "base/rfc3348.txt", (1, 5), (0, 0);
    rfc_3502_multiappend, "base/rfc3502.txt", (27, 6), (0, 0);
    rfc_3691_unselect, "base/rfc3691.txt", (1, 1), (0, 0);
    rfc_4315_uidplus, "base/rfc4315.txt", (16, 17), (0, 0);
    rfc_4466_abnf, "base/rfc4466.txt", (3, 8), (0, 2);
    rfc_4469_catenate, "base/rfc4469.txt", (78, 16), (0, 2);
    rfc_4731_esearch, "base/rfc4731.txt", (9, 18), (0, 0);
    rfc_4959_sasl_ir, "base/rfc4959.txt", (10, 14), (0, 0);
    rfc_5032_within, "base/rfc5032.txt", (1, 1), (1, 0);
    rfc_5161_enable, "base/rfc5161.txt", (4, 8), (0, 0);
    rfc_5182_searchres, "base/rfc5182.txt", (28, 40), (1, 6);
    rfc_5256_sort_thread, "base/rfc5256.txt", (6, 15), (0, 0);
    rfc_5258_list_extended, "base/rfc5258.txt", (26, 133), (0, 0);
    rfc_5267_context, "base/rfc5267.txt", (10, 26), (2, 3);
    rfc_5530_response_codes, "base/rfc5530.txt", (21, 22), (1, 0);
    rfc_5819_list_status, "base/rfc5819.txt", (2, 10), (3, 0);
    rfc_6154_special_use, "base/rfc6154.txt", (12, 39), (0, 0);
    rfc_6203_fuzzy, "base/rfc6203.txt", (6, 12), (0, 0);
    rfc_6237_esearch_of_mailboxes, "base/rfc6237.txt", (4, 7), (2, 0);
    rfc_6851_move, "base/rfc6851.txt", (1, 4), (1, 1);
    rfc_7162_condstore_qresync, "base/rfc7162.txt", (56, 228), (6, 5);
    rfc_7377_multisearch, "base/rfc7377.txt", (4, 7), (2, 0);
    rfc_7888_literals, "base/rfc7888.txt", (4, 2), (0, 0);
    rfc_8508_replace, "base/rfc8508.txt", (53, 17), (0, 1);
}
