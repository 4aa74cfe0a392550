//! An SMTP server on std's sockets that takes every message and throws it away.
//!
//! `cargo run -p posthaste-smtp-proto --example smtp_sink [-- 127.0.0.1:2525]`, then send something to that address.
//! The driving contract is in `sink/mod.rs`: for each read, ask the receiver for events until there are none, and answer each.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

mod sink;
use sink::Sink;

fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:2525".to_owned());
    let listener = TcpListener::bind(address)?;
    println!("sinking mail on {}", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        std::thread::spawn(move || match serve(stream) {
            Ok(octets) => println!("session over, {octets} octets of mail"),
            Err(error) => println!("session lost: {error}"),
        });
    }
    Ok(())
}

fn serve(mut stream: TcpStream) -> std::io::Result<u64> {
    let mut sink = Sink::new();
    let mut buffer = [0; 16 * 1024];
    stream.write_all(&sink.take_output())?;
    while !sink.is_over() {
        let len = stream.read(&mut buffer)?;
        if len == 0 {
            break;
        }
        sink.read(&buffer[..len]);
        stream.write_all(&sink.take_output())?;
    }
    Ok(sink.octets())
}
