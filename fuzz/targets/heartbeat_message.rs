//! A message between agents that decodes comes back from its encoding; every cut of it is refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use posthaste_heartbeat::message::{BadMessage, MESSAGE_BYTES_MAX, Message, VERSION};

fuzz_target!(|data: &[u8]| {
    match Message::decode(data) {
        Ok(message) => {
            assert!(data.len() <= MESSAGE_BYTES_MAX && data[0] == VERSION);
            let encoded = message.encode();
            assert_eq!(Message::decode(&encoded).as_ref(), Ok(&message));
            for cut in 0..encoded.len() {
                assert_eq!(Message::decode(&encoded[..cut]), Err(BadMessage::Malformed), "cut at {cut}");
            }
        }
        Err(BadMessage::Version(version)) => assert!(version == data[0] && version != VERSION),
        Err(BadMessage::TooLong(len)) => assert!(len == data.len() && len > MESSAGE_BYTES_MAX),
        Err(_) => {}
    }
});
