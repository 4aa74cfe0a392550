//! How often the hot path asks for memory: never.

use posthaste_measure::{Counting, allocations};
use posthaste_smtp_proto::*;

use crate::corpus;

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![1u8]))), 1);
}

#[test]
fn a_session_of_commands_allocates_nothing() {
    let wire = corpus::commands(5321, 500).concat().into_bytes();
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
fn commands_in_pieces_reuse_one_buffer() {
    let wire = corpus::commands(5321, 500).concat().into_bytes();
    let mut receiver = Receiver::new(Config::default());
    let mut feed = |wire: &[u8]| {
        for mut piece in wire.chunks(7) {
            while receiver.next(&mut piece).is_some() {}
        }
    };
    feed(&wire);
    assert_eq!(allocations(|| feed(&wire)), 0);
}

#[test]
fn a_message_streams_through_without_allocation() {
    let wire = corpus::message(5321, 100_000, Some(10));
    let mut receiver = Receiver::new(Config::default());
    receiver.accept_data();
    let mut octets = 0;
    let count = allocations(|| {
        for mut piece in wire.chunks(1460) {
            while let Some(event) = receiver.next(&mut piece) {
                if let Event::Body(text) = event {
                    octets += text.len();
                }
            }
        }
    });
    assert_eq!(count, 0);
    assert!(octets > 100_000 - 3000);
}

#[test]
fn a_message_is_stuffed_without_allocation() {
    let message = b"one\r\n.two\r\n..\r\n".repeat(1000);
    let mut stuffer = Stuffer::new();
    let mut octets = 0;
    let count = allocations(|| octets = stuffer.stuff(&message).map(<[u8]>::len).sum());
    assert_eq!((count, octets), (0, message.len() + 2000));
}
