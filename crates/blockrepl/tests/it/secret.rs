//! Links that ask for the proof of a shared secret.

use std::time::Duration;

use posthaste_blockrepl::wire::{Decoder, Hello, Message, Opening, Refusal};
use posthaste_blockrepl::{Guarded, LinkError, NodeId, Secret, SecretError};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::driver::{content, create, flush, write};
use crate::harness::{grant, identity};

const WAIT: Duration = Duration::from_secs(20);

fn secret(byte: u8) -> Secret {
    Secret::new(&[byte; 32]).unwrap()
}

type Ended = Result<Guarded<DuplexStream>, LinkError>;

/// Node 0 dials node 1.
async fn meet(dialler: &Secret, acceptor: &Secret) -> (Ended, Ended) {
    let (ours, theirs) = tokio::io::duplex(1 << 12);
    let (us, them) = (identity(0), identity(1));
    tokio::join!(dialler.dial(&us, them.node, ours), acceptor.accept(&them, theirs))
}

fn frame(opening: Opening) -> Vec<u8> {
    let mut out = bytes::BytesMut::new();
    Message::Opening(opening).encode(&mut out);
    out.to_vec()
}

async fn hear(io: &mut DuplexStream) -> Message {
    let mut decoder = Decoder::new(1024);
    loop {
        if let Some(message) = decoder.next().unwrap() {
            return message;
        }
        let byte = io.read_u8().await.unwrap();
        decoder.buffer().extend_from_slice(&[byte]);
    }
}

fn challenge(from: usize, to: usize, share: [u8; 32]) -> Opening {
    let (from, to) = (identity(from), identity(to).node);
    Opening::Challenge {
        cluster: from.cluster,
        volume: from.volume,
        from: from.node,
        to,
        sealed: true,
        share,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_know_the_secret_replicate_sealed_or_not() {
    for secret in [secret(1), secret(1).unsealed()] {
        let dir = TempDir::new().unwrap();
        let (a, b) = (create(&dir, 0), create(&dir, 1));
        let (ours, theirs) = meet(&secret, &secret).await;
        let (ours, mut theirs) = (ours.unwrap(), theirs.unwrap());
        assert_eq!((ours.peer(), theirs.peer()), (identity(1).node, identity(0).node));
        a.raise_epoch(1).await.unwrap();
        let device = a.lead(grant(1, 0, &[0, 1], 1)).await.unwrap();
        let accept = async { b.accept(Hello::read(&mut theirs).await.unwrap(), theirs).await };
        let (_link, accepted) = tokio::join!(a.attach(identity(1).node, ours), accept);
        let _links = (_link.unwrap(), accepted.unwrap());
        for n in 0..4 {
            write(&device, n * 200_000, &[7; 150_000]).await.unwrap();
        }
        flush(&device).await.unwrap();
        assert!(content(&dir, 0) == content(&dir, 1) && content(&dir, 1)[600_000..750_000] == [7; 150_000]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_secret_or_another_setting_is_refused_on_both_sides() {
    let (dialler, acceptor) = meet(&secret(1), &secret(2)).await;
    assert!(matches!(dialler, Err(LinkError::Refused(Refusal::Unauthenticated))), "{dialler:?}");
    assert!(matches!(acceptor, Err(LinkError::Unauthenticated)), "{acceptor:?}");
    let (dialler, acceptor) = meet(&secret(1), &secret(1).unsealed()).await;
    assert!(matches!(dialler, Err(LinkError::Refused(Refusal::OtherSetup))), "{dialler:?}");
    assert!(matches!(acceptor, Err(LinkError::OtherSetup)), "{acceptor:?}");
    assert_eq!(Secret::new(b"short").unwrap_err(), SecretError::TooShort { len: 5 });
    assert_eq!(format!("{:?}", secret(42)), "Secret { sealed: true, .. }");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_without_a_secret_is_refused_in_both_directions_and_none_goes_down_to_less() {
    let dir = TempDir::new().unwrap();
    let (us, them, plain) = (identity(0), identity(1), create(&dir, 0));
    // It dials one with a secret.
    let (ours, theirs) = tokio::io::duplex(1 << 12);
    let with = secret(1);
    let (dialled, accepted) = tokio::join!(plain.attach(them.node, ours), with.accept(&them, theirs));
    assert!(matches!(dialled, Err(LinkError::Refused(Refusal::Unauthenticated))), "{dialled:?}");
    assert!(matches!(accepted, Err(LinkError::Unauthenticated)), "{accepted:?}");
    // It is dialled by one.
    let (ours, mut theirs) = tokio::io::duplex(1 << 12);
    let listen = async {
        let read = Hello::read(&mut theirs).await;
        Hello::refuse(&mut theirs, Refusal::OtherSetup).await.unwrap();
        read
    };
    let (dialled, read) = tokio::join!(with.dial(&us, them.node, ours), listen);
    assert!(matches!(dialled, Err(LinkError::Refused(Refusal::OtherSetup))), "{dialled:?}");
    assert!(matches!(read, Err(LinkError::OtherSetup)), "{read:?}");
    // One who has proved nothing can refuse, and say nothing of what only the peer knows.
    for (said, heard) in [
        (Refusal::UnknownVolume, Some(Refusal::UnknownVolume)),
        (Refusal::SessionOver, None),
        (Refusal::Fenced { current: 9 }, None),
    ] {
        let (ours, mut theirs) = tokio::io::duplex(1 << 12);
        let refuse = Hello::refuse(&mut theirs, said);
        let (dialled, refused) = tokio::join!(with.dial(&us, them.node, ours), refuse);
        refused.unwrap();
        match (dialled, heard) {
            (Err(LinkError::Refused(why)), Some(heard)) => assert_eq!(why, heard),
            (Err(LinkError::Unauthenticated), None) => {}
            (dialled, heard) => panic!("{dialled:?}, not {heard:?}"),
        }
    }
    // One who answers the challenge with a hello gets nothing.
    let (ours, mut theirs) = tokio::io::duplex(1 << 12);
    let answer = async {
        hear(&mut theirs).await;
        let mut out = bytes::BytesMut::new();
        Message::Hello(crate::hostile_links::stranger()).encode(&mut out);
        theirs.write_all(&out).await.unwrap();
        let mut rest = Vec::new();
        theirs.read_to_end(&mut rest).await.unwrap();
        rest
    };
    let (dialled, rest) = tokio::join!(with.dial(&us, them.node, ours), answer);
    assert!(matches!(dialled, Err(LinkError::OtherSetup)), "{dialled:?}");
    assert!(rest.is_empty());
    assert_eq!(plain.metrics().peers_connected, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proof_sent_back_to_its_sender_proves_nothing() {
    let (us, them, secret) = (identity(0), identity(1), secret(1));
    // Node 0 is dialled with its own challenge: it did not mean itself.
    let (mut ours, theirs) = tokio::io::duplex(1 << 12);
    ours.write_all(&frame(challenge(0, 1, [9; 32]))).await.unwrap();
    let refused = secret.accept(&us, theirs).await;
    assert!(matches!(refused, Err(LinkError::Refused(Refusal::UnknownVolume))), "{refused:?}");
    let (mut ours, theirs) = tokio::io::duplex(1 << 12);
    ours.write_all(&frame(challenge(0, 0, [9; 32]))).await.unwrap();
    let refused = secret.accept(&us, theirs).await;
    assert!(matches!(refused, Err(LinkError::Refused(Refusal::OwnIdentity))), "{refused:?}");
    // It dials one who sends its own share and its own proof back.
    let (ours, mut theirs) = tokio::io::duplex(1 << 12);
    let mirror = async {
        let Message::Opening(Opening::Challenge { share, .. }) = hear(&mut theirs).await else { panic!() };
        theirs.write_all(&frame(Opening::Share(share))).await.unwrap();
        let Message::Opening(proof @ Opening::Proof(_)) = hear(&mut theirs).await else { panic!() };
        theirs.write_all(&frame(proof)).await.unwrap();
    };
    let (dialled, ()) = tokio::join!(secret.dial(&us, them.node, ours), mirror);
    assert!(matches!(dialled, Err(LinkError::Unauthenticated)), "{dialled:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replayed_proof_and_a_share_that_makes_all_secrets_equal_prove_nothing() {
    let (us, them, secret) = (identity(0), identity(1), secret(1));
    // What a dialler said once, in good order.
    let (ours, mut near) = tokio::io::duplex(1 << 12);
    let (mut far, theirs) = tokio::io::duplex(1 << 12);
    let tap = async {
        let mut said = Vec::new();
        for _ in 0..2 {
            let Message::Opening(opening) = hear(&mut near).await else { panic!() };
            said.push(opening.clone());
            far.write_all(&frame(opening)).await.unwrap();
            let Message::Opening(answer) = hear(&mut far).await else { panic!() };
            near.write_all(&frame(answer)).await.unwrap();
        }
        said
    };
    let (dialled, accepted, said) =
        tokio::join!(secret.dial(&us, them.node, ours), secret.accept(&them, theirs), tap);
    assert!(dialled.is_ok() && accepted.is_ok());
    // Said again.
    let (mut again, theirs) = tokio::io::duplex(1 << 12);
    for opening in said {
        again.write_all(&frame(opening)).await.unwrap();
    }
    let refused = secret.accept(&them, theirs).await;
    assert!(matches!(refused, Err(LinkError::Unauthenticated)), "{refused:?}");
    // A share of zeros.
    let (mut zeros, theirs) = tokio::io::duplex(1 << 12);
    zeros.write_all(&frame(challenge(0, 1, [0; 32]))).await.unwrap();
    let refused = secret.accept(&them, theirs).await;
    assert!(matches!(refused, Err(LinkError::Unauthenticated)), "{refused:?}");
    // For another volume, or another node.
    let mut other = identity(1);
    other.volume.0[0] ^= 1;
    let (ours, theirs) = tokio::io::duplex(1 << 12);
    let (dialled, _) = tokio::join!(secret.dial(&us, NodeId(2), ours), secret.accept(&other, theirs));
    assert!(matches!(dialled, Err(LinkError::Refused(Refusal::UnknownVolume))), "{dialled:?}");
}

/// Two sealed ends whose records pass through hostile hands.
async fn tapped() -> (Guarded<DuplexStream>, DuplexStream, DuplexStream, Guarded<DuplexStream>) {
    let (us, them, secret) = (identity(0), identity(1), secret(1));
    let (ours, mut near) = tokio::io::duplex(1 << 16);
    let (mut far, theirs) = tokio::io::duplex(1 << 16);
    let pass = async {
        for _ in 0..2 {
            let Message::Opening(opening) = hear(&mut near).await else { panic!() };
            far.write_all(&frame(opening)).await.unwrap();
            let Message::Opening(answer) = hear(&mut far).await else { panic!() };
            near.write_all(&frame(answer)).await.unwrap();
        }
    };
    let (dialled, accepted, ()) =
        tokio::join!(secret.dial(&us, them.node, ours), secret.accept(&them, theirs), pass);
    (dialled.unwrap(), near, far, accepted.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sealed_record_that_was_changed_repeated_left_out_or_turned_round_ends_the_link() {
    type Deed = fn(&[u8], &[u8]) -> Vec<u8>;
    let deeds: [(Deed, bool); 7] = [
        (|one, two| [one, two].concat(), true),
        (|one, two| [&flipped(one, 0)[..], two].concat(), false),
        (|one, two| [&flipped(one, 6)[..], two].concat(), false),
        (|one, two| [&flipped(one, one.len() - 1)[..], two].concat(), false),
        (|one, two| [one, one, two].concat(), false),
        (|_, two| two.to_vec(), false),
        (|one, two| [two, one].concat(), false),
    ];
    for (n, (deed, good)) in deeds.into_iter().enumerate() {
        let (mut sender, mut near, mut far, mut receiver) = tapped().await;
        let mut records = Vec::new();
        for data in [b"first  ", b"second "] {
            sender.write_all(data).await.unwrap();
            sender.flush().await.unwrap();
            let mut record = vec![0; 4 + data.len() + 16];
            near.read_exact(&mut record).await.unwrap();
            assert!(!record.windows(5).any(|w| w == b"first" || w == b"secon"), "in the clear");
            records.push(record);
        }
        far.write_all(&deed(&records[0], &records[1])).await.unwrap();
        let mut got = [0; 14];
        let read = tokio::time::timeout(WAIT, receiver.read_exact(&mut got)).await.unwrap();
        assert_eq!(read.is_ok(), good, "deed {n}");
        match read {
            Ok(_) => assert_eq!(&got, b"first  second "),
            Err(e) => assert_eq!(e.kind(), std::io::ErrorKind::InvalidData, "deed {n}: {e}"),
        }
    }
    // Its own record comes back to the sender.
    let (mut sender, mut near, _far, _receiver) = tapped().await;
    sender.write_all(b"mirror").await.unwrap();
    sender.flush().await.unwrap();
    let mut record = vec![0; 4 + 6 + 16];
    near.read_exact(&mut record).await.unwrap();
    near.write_all(&record).await.unwrap();
    let why = sender.read_u8().await.unwrap_err();
    assert_eq!(why.kind(), std::io::ErrorKind::InvalidData);
}

fn flipped(record: &[u8], at: usize) -> Vec<u8> {
    let mut record = record.to_vec();
    record[at] ^= 1;
    record
}
