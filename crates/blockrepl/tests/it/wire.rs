//! Frames: laws, and hostile bytes.

use bytes::{Bytes, BytesMut};
use posthaste_blockrepl::wire::{
    Decoder, Digest, HEADER_LEN, Message, Opening, Refusal, WireError, WriterMessage,
};
use posthaste_blockrepl::{ClusterId, Data, DeviceId, GenerationId, Member, NodeId, VolumeId, Zeros};
use proptest::prelude::*;

fn writer_message() -> impl Strategy<Value = WriterMessage> {
    use WriterMessage as M;
    let data = proptest::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from);
    let pairs = proptest::collection::vec(any::<(u64, u64)>(), 0..9);
    let numbers = any::<(u64, u64, u64, u64)>();
    prop_oneof![
        any::<u64>().prop_map(|epoch| M::Leads { epoch }),
        any::<(u64, u64, bool)>().prop_map(|(epoch, session, again)| M::Join { epoch, session, again }),
        any::<(u64, u64)>().prop_map(|(epoch, id)| M::VouchAsk { epoch, id }),
        any::<(u64, bool)>().prop_map(|(id, counted)| M::Vouched { id, counted }),
        any::<(u64, u32, u32)>().prop_map(|(id, have, need)| M::TooFew { id, have, need }),
        (any::<(u64, u64)>(), pairs, proptest::collection::vec(any::<u64>(), 0..9))
            .prop_map(|((epoch, session), ordered, leases)| M::Joined { epoch, session, ordered, leases }),
        any::<(u64, u64)>().prop_map(|(epoch, seq)| M::ReadHere { epoch, seq }),
        (numbers, data.clone()).prop_map(|((epoch, id, seen, offset), data)| M::Forward {
            epoch,
            id,
            seen,
            offset,
            data
        }),
        (numbers, any::<bool>()).prop_map(|((epoch, seq, stable, id), apply)| M::Ordered {
            epoch,
            seq,
            stable,
            id,
            apply
        }),
        any::<(u64, u64)>().prop_map(|(epoch, seq)| M::Applied { epoch, seq }),
        any::<(u64, u64)>().prop_map(|(epoch, seq)| M::Visible { epoch, seq }),
        any::<(u64, u64)>().prop_map(|(epoch, id)| M::FlushAsk { epoch, id }),
        any::<u64>().prop_map(|id| M::Flushed { id }),
        any::<(u64, u64, u64, u32)>().prop_map(|(epoch, id, offset, len)| M::ReadAt {
            epoch,
            id,
            offset,
            len
        }),
        (any::<u64>(), proptest::collection::vec(any::<u32>(), 0..258), data)
            .prop_map(|(id, sums, data)| M::ReadData { id, sums, data }),
        numbers.prop_map(|(epoch, id, offset, len)| M::LeaseAsk { epoch, id, offset, len }),
        any::<u64>().prop_map(|id| M::Leased { id }),
        any::<(u64, u64)>().prop_map(|(epoch, id)| M::Release { epoch, id }),
        any::<u64>().prop_map(|epoch| M::Leave { epoch }),
    ]
}

/// Runs of granules as they are written: ascending, apart.
fn runs() -> impl Strategy<Value = Vec<(u32, u32)>> {
    proptest::collection::vec((0u32..1 << 27, 1u32..1000), 0..20).prop_map(|gaps| {
        let mut free = 0;
        let run = |(gap, count): (u32, u32)| {
            let first = free + gap;
            free = first + count;
            (first, count)
        };
        gaps.into_iter().map(run).collect()
    })
}

fn opening() -> impl Strategy<Value = Opening> {
    let ids = any::<([u8; 16], [u8; 16], u64, u64)>();
    prop_oneof![
        (ids, any::<bool>(), any::<[u8; 32]>()).prop_map(|((c, v, from, to), sealed, share)| {
            let (cluster, volume, from, to) = (ClusterId(c), VolumeId(v), NodeId(from), NodeId(to));
            Opening::Challenge { cluster, volume, from, to, sealed, share }
        }),
        any::<[u8; 32]>().prop_map(Opening::Share),
        any::<[u8; 32]>().prop_map(Opening::Proof),
        (ids, any::<([u8; 16], [u8; 16], u8)>()).prop_map(|((c, v, from, to), (session, answer, rank))| {
            let (cluster, volume, from, to) = (ClusterId(c), VolumeId(v), NodeId(from), NodeId(to));
            Opening::Path { cluster, volume, from, to, session, answer, rank }
        }),
        any::<[u8; 16]>().prop_map(Opening::Taken),
        Just(Opening::Go),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    let bytes = |len| proptest::collection::vec(any::<u8>(), len).prop_map(Data::from);
    // Some have whole blocks, whose checksums make the frame's.
    let data = prop_oneof![3 => bytes(0..300), 1 => bytes(4000..9000)].boxed();

    prop_oneof![
        (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>(), data.clone()).prop_map(
            |(epoch, seq, stable, offset, data)| Message::Write { epoch, seq, stable, offset, data }
        ),
        (any::<u64>(), any::<u32>(), any::<bool>(), data.clone())
            .prop_map(|(epoch, granule, heal, data)| Message::Copy { epoch, granule, heal, data }),
        (
            any::<u64>(),
            any::<u32>(),
            any::<bool>(),
            proptest::collection::btree_map(any::<u8>(), any::<u32>(), 0..9),
            data
        )
            .prop_map(|(epoch, granule, heal, blocks, data)| {
                let blocks = blocks.into_iter().collect();
                Message::CopyDamaged { epoch, granule, heal, blocks, data }
            }),
        (any::<u64>(), any::<u64>()).prop_map(|(id, bytes)| Message::FlushAck { id, bytes }),
        (any::<u64>(), any::<u64>(), runs()).prop_map(|(epoch, version, dirty)| Message::SyncEnd {
            epoch,
            version,
            lineage: Default::default(),
            members: Default::default(),
            dirty
        }),
        (any::<bool>(), any::<u32>(), runs()).prop_map(|(consistent, changed, dirty)| Message::BeginAck {
            lineage: Default::default(),
            members: Default::default(),
            base: Default::default(),
            consistent,
            sync: None,
            changed,
            dirty
        }),
        (any::<u64>(), any::<u16>(), any::<u16>(), proptest::collection::vec(any::<u8>(), 0..300))
            .prop_map(|(id, good, void, data)| Message::Fetched { id, good, void, data: data.into() }),
        (any::<u64>(), any::<u64>(), any::<u32>()).prop_map(|(epoch, id, chunk)| Message::Fetch {
            epoch,
            id,
            chunk
        }),
        any::<u32>().prop_map(|chunk| Message::Rotten { chunk }),
        (any::<u64>(), any::<u64>()).prop_map(|(epoch, id)| Message::Agreed { epoch, id }),
        any::<u64>().prop_map(|current| Message::Refused(Refusal::Fenced { current })),
        any::<u64>().prop_map(|epoch| Message::Refused(Refusal::NotWriter { epoch })),
        any::<u64>().prop_map(|current| Message::Refused(Refusal::Resigned { current })),
        writer_message().prop_map(Message::Writer),
        opening().prop_map(Message::Opening),
        (any::<u64>(), any::<u64>()).prop_map(|(epoch, seq)| Message::Reach { epoch, seq }),
        any::<u64>().prop_map(|seq| Message::Reached { seq }),
        (any::<u64>(), any::<u64>()).prop_map(|(epoch, size)| Message::Resize { epoch, size }),
        (any::<u64>(), any::<u32>()).prop_map(|(epoch, chunk)| Message::Judged { epoch, chunk }),
        (any::<u64>(), any::<u64>()).prop_map(|(epoch, size)| Message::Shrink { epoch, size }),
        any::<u64>().prop_map(|size| Message::Resized { size }),
        (any::<u64>(), any::<u64>(), runs()).prop_map(|(epoch, node, dirty)| {
            let member = Member { node: NodeId(node), device: DeviceId([7; 16]) };
            Message::Lacks { epoch, member, base: GenerationId::default(), dirty }
        }),
        (any::<u64>(), any::<u32>(), any::<u32>(), any::<u64>()).prop_map(|(epoch, granule, crc, mix)| {
            Message::Compare { epoch, granule, digest: Digest { crc, mix } }
        }),
        (any::<u32>(), any::<bool>()).prop_map(|(granule, same)| Message::Compared { granule, same }),
        (any::<u64>(), any::<u32>(), any::<u64>())
            .prop_map(|(id, crc, mix)| Message::Verified { id, digest: Digest { crc, mix } }),
    ]
}

fn encode(messages: &[Message]) -> BytesMut {
    let mut out = BytesMut::new();
    messages.iter().for_each(|m| m.encode(&mut out));
    out
}

proptest! {
    #[test]
    fn any_split_of_the_bytes_gives_the_same_messages(
        messages in proptest::collection::vec(message(), 1..6),
        step in 1usize..100,
    ) {
        let bytes = encode(&messages);
        let (mut decoder, mut read) = (Decoder::new(1 << 16), Vec::new());
        for piece in bytes.chunks(step) {
            decoder.buffer().extend_from_slice(piece);
            while let Some(message) = decoder.next().unwrap() {
                read.push(message);
            }
        }
        prop_assert_eq!(read, messages);
    }

    #[test]
    fn a_flipped_bit_is_never_taken_for_another_message(message in message(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut bytes = encode(std::slice::from_ref(&message));
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let mut decoder = Decoder::new(1 << 16);
        decoder.buffer().extend_from_slice(&bytes);
        prop_assert!(!matches!(decoder.next(), Ok(Some(_))));
    }

    #[test]
    fn arbitrary_bytes_never_panic_the_decoder(kind in any::<u8>(), payload in proptest::collection::vec(any::<u8>(), 0..400)) {
        // A whole frame with right checksums around a payload of noise.
        let mut bytes = encode(&[Message::Progress { bytes: 0 }]);
        bytes.truncate(HEADER_LEN);
        bytes[3] = kind;
        bytes[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        bytes[8..12].copy_from_slice(&crc32fast::hash(&payload).to_le_bytes());
        let crc = crc32fast::hash(&bytes[..12]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes.extend_from_slice(&payload);
        let mut decoder = Decoder::new(1 << 16);
        decoder.buffer().extend_from_slice(&bytes);
        match decoder.next() {
            Ok(Some(message)) => prop_assert_eq!(encode(&[message]), bytes),
            Ok(None) => prop_assert!(false, "the frame is whole"),
            Err(e) => prop_assert_eq!(e, WireError::Malformed { kind }),
        }
    }
}

#[test]
fn zeros_cross_a_link_as_their_number_and_arrive_as_what_they_were() {
    for zeros in [Zeros::Kept, Zeros::Free] {
        let data = zeros.bytes(Zeros::MAX);
        let write = Message::Write { epoch: 1, seq: 2, stable: 1, offset: 4096, data: data.clone().into() };
        let forward =
            WriterMessage::Forward { epoch: 1, id: 3, seen: 2, offset: 4096, data: data.slice(..70_000) };
        let sent = [write, Message::Writer(forward)];
        let bytes = encode(&sent);
        assert!(bytes.len() < 200, "{} bytes", bytes.len());
        let mut decoder = Decoder::new(4096);
        decoder.buffer().extend_from_slice(&bytes);
        for message in sent {
            let got = decoder.next().unwrap().unwrap();
            assert_eq!(got, message);
            let zero = match got {
                Message::Write { data, .. } => data.as_ptr(),
                Message::Writer(WriterMessage::Forward { data, .. }) => data.as_ptr(),
                other => panic!("{other:?}"),
            };
            assert_eq!(zero, data.as_ptr(), "known again at the next step");
        }
    }
}

#[test]
fn more_zeros_than_a_write_may_have_are_refused() {
    let data = Zeros::Kept.bytes(Zeros::MAX);
    let good =
        encode(&[Message::Write { epoch: 1, seq: 2, stable: 1, offset: 4096, data: data.into() }]).to_vec();
    for len in [0, Zeros::MAX as u32 + 1, u32::MAX] {
        let mut bytes = good.clone();
        bytes[HEADER_LEN + 32..HEADER_LEN + 36].copy_from_slice(&len.to_le_bytes());
        let payload = crc32fast::hash(&bytes[HEADER_LEN..]);
        bytes[8..12].copy_from_slice(&payload.to_le_bytes());
        let header = crc32fast::hash(&bytes[..12]);
        bytes[12..16].copy_from_slice(&header.to_le_bytes());
        let mut decoder = Decoder::new(4096);
        decoder.buffer().extend_from_slice(&bytes);
        assert_eq!(decoder.next(), Err(WireError::Malformed { kind: 76 }), "{len}");
    }
}

#[test]
fn an_oversized_frame_is_refused_by_its_header_alone() {
    let big = Message::Write { epoch: 1, seq: 1, stable: 0, offset: 0, data: vec![0; 5000].into() };
    let bytes = encode(&[big]);
    let mut decoder = Decoder::new(4096);
    decoder.buffer().extend_from_slice(&bytes[..HEADER_LEN]);
    assert_eq!(decoder.next(), Err(WireError::TooLong { len: 5032, limit: 4096 }));
}

#[test]
fn a_newer_protocol_and_a_stranger_are_told_apart() {
    let mut bytes = encode(&[Message::Progress { bytes: 1 }]);
    bytes[2] = 4;
    let mut decoder = Decoder::new(4096);
    decoder.buffer().extend_from_slice(&bytes);
    assert_eq!(decoder.next(), Err(WireError::Version { theirs: 4 }));
    let mut decoder = Decoder::new(4096);
    decoder.buffer().extend_from_slice(b"GET / HTTP/1.1\r\n");
    assert_eq!(decoder.next(), Err(WireError::Magic(*b"GE")));
}

/// A whole frame with right checksums.
fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = encode(&[Message::Progress { bytes: 0 }]).to_vec();
    bytes.truncate(8);
    bytes[3] = kind;
    bytes[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

#[test]
fn what_no_replica_would_write_is_malformed() {
    let member = |n: u8| [&u64::from(n).to_le_bytes()[..], &[n; 16]].concat();
    let adopt = |members: &[u8]| {
        let members: Vec<u8> = members.iter().flat_map(|n| member(*n)).collect();
        [&[0; 20][..], &2u32.to_le_bytes(), &members].concat()
    };
    let begin_ack = [&[0; 4][..], &[1, 0], &[0; 16], &7u64.to_le_bytes(), &[0; 4]].concat();
    let refused = [&[2][..], &7u64.to_le_bytes()].concat();
    let lacks = |runs: &[(u32, u32)]| {
        let runs: Vec<u8> =
            runs.iter().flat_map(|(a, n)| [a.to_le_bytes(), n.to_le_bytes()].concat()).collect();
        [&[0; 64][..], &((runs.len() / 8) as u32).to_le_bytes(), &runs].concat()
    };
    for (kind, payload, well) in [
        (70, lacks(&[(0, 2), (2, 1), (9, u32::MAX - 9)]), true),
        (70, lacks(&[(0, 2), (1, 1)]), false),
        (70, lacks(&[(9, 1), (2, 1)]), false),
        (70, lacks(&[(9, 0)]), false),
        (70, lacks(&[(9, u32::MAX)]), false),
        (13, adopt(&[1, 2]), true),
        (13, adopt(&[2, 1]), false),
        (13, adopt(&[1, 1]), false),
        (4, begin_ack, false),
        (2, refused, false),
    ] {
        let mut decoder = Decoder::new(4096);
        decoder.buffer().extend_from_slice(&frame(kind, &payload));
        match decoder.next() {
            Ok(Some(_)) => assert!(well, "{kind} {payload:?}"),
            other => assert!(!well && other == Err(WireError::Malformed { kind }), "{kind} {other:?}"),
        }
    }
}
