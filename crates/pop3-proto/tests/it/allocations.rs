//! How often the hot path asks for memory: never.

use posthaste_measure::{Counting, allocations};
use posthaste_pop3_proto::*;

use crate::corpus;

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![1u8]))), 1);
}

#[test]
fn a_session_of_commands_allocates_nothing() {
    let wire = corpus::commands(1939, 500).concat().into_bytes();
    let mut receiver = Receiver::new(Config::default());
    let mut commands = 0;
    let count = allocations(|| {
        let mut input = wire.as_slice();
        while let Some(event) = receiver.next(&mut input) {
            commands += usize::from(matches!(event, Event::Command(_)));
        }
    });
    assert_eq!((commands, count), (500, 0));
}

#[test]
fn listings_and_messages_stream_without_allocation() {
    let (list, uidl) = corpus::listings(1939, 100);
    let mut receiver = ResponseReceiver::after_tls(ClientConfig::default());
    let mut read = |shape: Shape, wire: &[u8]| {
        receiver.expect(shape);
        let mut seen = 0;
        let count = allocations(|| {
            let mut input = wire;
            while let Some(event) = receiver.next(&mut input) {
                seen += match event {
                    Ok(ClientEvent::Line(line)) => {
                        let line = std::str::from_utf8(line).unwrap();
                        usize::from(ListEntry::parse(line).is_some() || UidlEntry::parse(line).is_some())
                    }
                    Ok(ClientEvent::Text(text)) => text.len(),
                    Ok(_) => 0,
                    Err(error) => panic!("{error}"),
                };
            }
        });
        (seen, count)
    };
    let status_line = 1;
    assert_eq!(read(Shape::Lines, &list), (100, status_line));
    assert_eq!(read(Shape::Lines, &uidl), (100, 0));
    assert_eq!(read(Shape::Message, b"+OK\r\nHi\r\n..\r\n.\r\n"), (7, 0));
}
