//! The sink of `smtp_sink.rs` on tokio: both share `sink/mod.rs`, since the protocol knows no sockets.
//!
//! `cargo run -p posthaste-smtp-proto --example smtp_sink_tokio [-- 127.0.0.1:2525]`

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

mod sink;
use sink::Sink;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:2525".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("sinking mail on {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            match serve(stream).await {
                Ok(octets) => println!("session over, {octets} octets of mail"),
                Err(error) => println!("session lost: {error}"),
            }
        });
    }
}

async fn serve(mut stream: TcpStream) -> std::io::Result<u64> {
    let mut sink = Sink::new();
    let mut buffer = vec![0; 16 * 1024];
    stream.write_all(&sink.take_output()).await?;
    while !sink.is_over() {
        let len = stream.read(&mut buffer).await?;
        if len == 0 {
            break;
        }
        sink.read(&buffer[..len]);
        stream.write_all(&sink.take_output()).await?;
    }
    Ok(sink.octets())
}
