//! The rarer extensions, and Gmail's own.

mod values;

use crate::examples::dialogue::examples;

// Lines of the client and of the server; lines that are wrong, and lines that are none.
examples! {
    rfc_2087_quota_of_old, "rfc2087.txt", (3, 10), (0, 0);
    rfc_4314_acl, "rfc4314.txt", (28, 73), (5, 0);
    rfc_4467_urlauth, "rfc4467.txt", (11, 20), (0, 0);
    rfc_4978_compress, "rfc4978.txt", (4, 6), (2, 0);
    rfc_5255_language_comparator, "rfc5255.txt", (11, 20), (1, 0);
    rfc_5257_annotate, "rfc5257.txt", (19, 37), (5, 1);
    rfc_5259_convert, "rfc5259.txt", (25, 66), (6, 15);
    rfc_5464_metadata, "rfc5464.txt", (14, 26), (0, 0);
    rfc_5465_notify, "rfc5465.txt", (8, 43), (5, 2);
    rfc_5466_filters, "rfc5466.txt", (3, 1), (0, 0);
    rfc_5524_urlauth_binary, "rfc5524.txt", (6, 14), (0, 0);
    rfc_5550_lemonade, "rfc5550.txt", (36, 29), (2, 1);
    rfc_7889_appendlimit, "rfc7889.txt", (4, 9), (1, 0);
    rfc_8438_status_size, "rfc8438.txt", (4, 24), (0, 0);
    rfc_8440_list_myrights, "rfc8440.txt", (2, 10), (0, 0);
    rfc_8457_important, "rfc8457.txt", (4, 6), (0, 0);
    rfc_8474_objectid, "rfc8474.txt", (22, 45), (0, 0);
    rfc_8514_savedate, "rfc8514.txt", (3, 6), (0, 0);
    rfc_8970_preview, "rfc8970.txt", (9, 29), (0, 4);
    rfc_9208_quota, "rfc9208.txt", (29, 28), (0, 4);
    rfc_9394_partial, "rfc9394.txt", (7, 21), (0, 3);
    rfc_9585_inprogress, "rfc9585.txt", (2, 14), (0, 0);
    rfc_9586_uidonly, "rfc9586.txt", (6, 19), (1, 0);
    rfc_9590_list_metadata, "rfc9590.txt", (3, 12), (0, 0);
    rfc_9698_jmapaccess, "rfc9698.txt", (6, 13), (1, 1);
    rfc_9738_messagelimit, "rfc9738.txt", (12, 40), (0, 4);
    rfc_10022_uidbatches, "rfc10022.txt", (8, 20), (0, 0);
    gmail_x_gm_ext_1, "gmail.txt", (12, 39), (0, 0);
}
