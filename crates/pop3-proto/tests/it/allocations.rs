//! How often the hot path asks for memory: never.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use posthaste_pop3_proto::*;

use crate::corpus;

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: all calls are passed on to the system's allocator; counting touches a thread-local number alone.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps `realloc`'s contract.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Allocations of this thread while `work` runs.
fn allocations(work: impl FnOnce()) -> usize {
    let before = COUNT.with(Cell::get);
    work();
    COUNT.with(Cell::get) - before
}

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
