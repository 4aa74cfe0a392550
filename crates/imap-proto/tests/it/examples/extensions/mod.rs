//! The examples of the RFCs of rarer extensions.

// use crate::examples::dialogue::examples;
//
// examples! {
//     rfc_8438_status_size, "rfc8438.txt", (1, 2), (0, 0);
// }
