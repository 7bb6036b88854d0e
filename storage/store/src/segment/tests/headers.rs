//! Segment headers that do not fit, keys that do, and bodies beyond a block's usual size.

use super::*;

#[test]
fn a_header_that_does_not_fit_is_refused_by_its_cause() {
    let disk = MemoryDisk::new();
    writer(&disk, &mut Rng::from_seed([4; 32]));
    let open = |name, cluster, keys: &[EncryptionKey]| {
        Segment::open(&disk, name, cluster, keys, &dictionaries())
            .err()
            .expect("it must be refused")
    };
    let stranger = ClusterId([1; 16]);
    assert!(matches!(open(NAME, stranger, &[key(1)]), OpenSegmentError::Cluster(CLUSTER)));
    let wrong = EncryptionKey::new(1, [1; 32]);
    assert!(matches!(open(NAME, CLUSTER, &[wrong]), OpenSegmentError::Key(KeyError::Wrong)));
    assert!(matches!(open(NAME, CLUSTER, &[key(2)]), OpenSegmentError::Key(KeyError::Epoch(1))));
    let moved = SegmentName { number: 4, ..NAME };
    let bytes = disk.read(&NAME.path()).unwrap().unwrap();
    let file = disk.create(&moved.path()).unwrap();
    file.write_at(&bytes, 0).unwrap();
    assert!(matches!(open(moved, CLUSTER, &[key(1)]), OpenSegmentError::Misplaced));
}

#[test]
fn a_header_of_a_later_version_a_damaged_and_an_unfinished_one_are_told_apart() {
    let disk = MemoryDisk::new();
    let rng = &mut Rng::from_seed([5; 32]);
    let mut writer = writer(&disk, rng);
    append(&mut writer, 1, vec![arrival(rng, 9)], Vec::new());
    let good = disk.read(&NAME.path()).unwrap().unwrap();
    let refusal = |change: &dyn Fn(&mut Vec<u8>)| {
        disk.damage(&NAME.path(), |bytes| {
            bytes.clone_from(&good);
            change(bytes);
        });
        match Segment::open(&disk, NAME, CLUSTER, &[key(1)], &dictionaries()) {
            Err(OpenSegmentError::Header(error)) => error,
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("a damaged header was taken"),
        }
    };
    let later = |bytes: &mut Vec<u8>| {
        bytes[8] = 3;
        let check = blake3::hash(&bytes[..224]);
        bytes[224..256].copy_from_slice(check.as_bytes());
    };
    assert_eq!(refusal(&later), HeaderError::Version(3));
    for at in 0..SEGMENT_HEADER_BYTES {
        let error = refusal(&|bytes: &mut Vec<u8>| bytes[at] ^= 0x20);
        assert_eq!(error, HeaderError::Damaged, "byte {at}");
        let error = refusal(&|bytes: &mut Vec<u8>| bytes.truncate(at));
        assert_eq!(error, HeaderError::Unfinished, "cut at {at}");
        // A file that grew before its bytes came shows zeros.
        let error = refusal(&|bytes: &mut Vec<u8>| {
            bytes.truncate(SEGMENT_HEADER_BYTES);
            bytes[at..].fill(0);
        });
        assert_eq!(error, HeaderError::Unfinished, "zeros from {at}");
    }
}

#[test]
fn either_key_slot_opens_a_segment() {
    let disk = MemoryDisk::new();
    let rng = &mut Rng::from_seed([6; 32]);
    let mut writer = writer(&disk, rng);
    let written = append_random(&mut writer, 1, rng);
    let wrapped = |header: &SegmentHeader| {
        let old = header.slots[0].unwrap();
        let plain = key(1).unwrap(&old.wrapped, &header.key_purpose()).unwrap();
        key(2).wrap(&plain, &header.key_purpose(), [7; 12])
    };
    disk.damage(&NAME.path(), |bytes| {
        let (head, _) = bytes.split_first_chunk_mut::<256>().unwrap();
        let mut header = SegmentHeader::decode(head).unwrap();
        header.slots[1] = Some(KeySlot { epoch: 2, wrapped: wrapped(&header) });
        *head = header.encode();
    });
    for keys in [vec![key(1)], vec![key(2)], vec![key(3), key(2)]] {
        let segment = Segment::open(&disk, NAME, CLUSTER, &keys, &dictionaries()).unwrap();
        assert_eq!(entries_of(&scan(&segment)), blocks_of(std::slice::from_ref(&written)));
    }
}

#[test]
fn a_body_that_fills_no_block_gets_one_of_its_own() {
    let disk = MemoryDisk::new();
    let rng = &mut Rng::from_seed([7; 32]);
    let mut writer = writer(&disk, rng);
    let bodies: Vec<_> = [10, 300_000, 10, 250_000, 20_000]
        .map(|length| CodedBody::encode(&noise(rng, length), None, &id_key()).unwrap())
        .into();
    let written = append(&mut writer, 1, Vec::new(), bodies);
    let blocks = scan(&open(&disk)).iter().filter(|one| matches!(one, Seen::Bodies(_))).count();
    assert_eq!(blocks, 4);
    check_bodies(&open(&disk), &written);
}

fn check_bodies(segment: &Segment, written: &Written) {
    let entries = written.blocks.iter().flat_map(|(_, entries)| entries);
    let places: Vec<BodyEntry> = entries
        .filter_map(|entry| match entry {
            Entry::Body(body) => Some(*body),
            Entry::Record(_) => None,
        })
        .collect();
    assert_eq!(places.len(), written.bodies.len());
    for (place, body) in places.iter().zip(&written.bodies) {
        assert_eq!(segment.body(place).unwrap(), *body);
    }
}

proptest! {
    #[test]
    fn what_was_appended_reads_back_by_scan_and_by_place(seed: [u8; 32], appends in 0u64..12) {
        let disk = MemoryDisk::new();
        let rng = &mut Rng::from_seed(seed);
        let mut writer = writer(&disk, rng);
        let written: Vec<_> = (1..=appends).map(|n| append_random(&mut writer, n, rng)).collect();
        drop(writer);
        let segment = open(&disk);
        let seen = scan(&segment);
        let is_whole = seen.iter().all(|one| matches!(one, Seen::Entries(..) | Seen::Bodies(_)));
        prop_assert!(is_whole, "{seen:?}");
        prop_assert_eq!(entries_of(&seen), blocks_of(&written));
        for one in &written {
            check_bodies(&segment, one);
            let mut records = Vec::new();
            for (offset, entries) in &one.blocks {
                prop_assert_eq!(&segment.entries(*offset).unwrap(), entries);
                records.extend(entries.iter().cloned().filter_map(Entry::into_record));
            }
            prop_assert_eq!(&records, &one.records);
        }
        // From any block on, a scan gives the rest.
        let whole = entries_of(&seen);
        for (at, (offset, ..)) in whole.iter().enumerate() {
            prop_assert_eq!(&entries_of(&scan_from(&segment, (*offset).into()))[..], &whole[at..]);
        }
    }

    #[test]
    fn segment_headers_decode_to_what_was_encoded(
        ids: [[u8; 16]; 3],
        class: u8,
        numbers: [u32; 2],
        is_rewrite: bool,
        epochs: [u32; 2],
        seed: [u8; 32],
    ) {
        let rng = &mut Rng::from_seed(seed);
        let slots = epochs.map(|epoch| {
            let wrapped = rng.bytes();
            (epoch != 0).then_some(KeySlot { epoch, wrapped })
        });
        let header = SegmentHeader {
            cluster: ClusterId(ids[0]),
            member: MemberId(ids[1]),
            bucket: Bucket { class: Class(class), day: Day(numbers[0]) },
            number: numbers[1],
            role: if is_rewrite { SegmentRole::Rewrite } else { SegmentRole::Log },
            salt: ids[2],
            slots,
        };
        prop_assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
    }

    #[test]
    fn block_headers_decode_to_what_was_encoded_at_their_own_offset_and_salt_only(
        kind in 1u8..=4,
        compression in 0u8..=2,
        items: u16,
        sealed_bytes in 0..=BLOCK_PAYLOAD_BYTES_MAX as u32,
        plain_bytes in 0..=BLOCK_PAYLOAD_BYTES_MAX as u32,
        offset: u64,
        commit: u64,
        salts: [[u8; 16]; 2],
    ) {
        let kinds = [BlockKind::Records, BlockKind::Bodies, BlockKind::Closing, BlockKind::Dictionary];
        let kind = kinds[usize::from(kind) - 1];
        let compression = match compression {
            2 if kind == BlockKind::Records => Compression::Shared,
            0 => Compression::None,
            _ => Compression::Zstd,
        };
        let header =
            BlockHeader { kind, compression, items, sealed_bytes, plain_bytes, offset, commit };
        let bytes = header.encode(&salts[0]);
        prop_assert_eq!(BlockHeader::decode(&bytes, offset, &salts[0]), Some(header));
        prop_assert_eq!(BlockHeader::decode(&bytes, offset ^ 8, &salts[0]), None);
        prop_assert_eq!(BlockHeader::decode(&bytes[1..], offset, &salts[0]), None);
        if salts[0] != salts[1] {
            prop_assert_eq!(BlockHeader::decode(&bytes, offset, &salts[1]), None);
        }
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes: Vec<u8>, offset: u64, salt: [u8; 16], seed: [u8; 32]) {
        prop_assert_eq!(BlockHeader::decode(&bytes, offset, &salt), None);
        let _ = Entry::decode_all(&bytes);
        let mut head: [u8; SEGMENT_HEADER_BYTES] = Rng::from_seed(seed).bytes();
        prop_assert_eq!(SegmentHeader::decode(&head), Err(HeaderError::Damaged));
        // Behind a right magic and check too, which is where the fields are read.
        head[..8].copy_from_slice(b"QUARSEG\n");
        let check = blake3::hash(&head[..224]);
        head[224..].copy_from_slice(check.as_bytes());
        let _ = SegmentHeader::decode(&head);
        head[8..10].copy_from_slice(&[1, 0]);
        let check = blake3::hash(&head[..224]);
        head[224..].copy_from_slice(check.as_bytes());
        let _ = SegmentHeader::decode(&head);
    }

    #[test]
    fn a_block_header_with_a_right_check_is_still_bounded(seed: [u8; 32], kind in 0u8..10, flag in 0u8..5) {
        let mut bytes: [u8; BLOCK_HEADER_BYTES] = Rng::from_seed(seed).bytes();
        bytes[..4].copy_from_slice(b"QBLK");
        bytes[4] = kind;
        bytes[5] = flag;
        bytes[16..24].copy_from_slice(&256u64.to_le_bytes());
        let salt = [1; 16];
        let mut hasher = blake3::Hasher::new();
        hasher.update(&salt).update(&bytes[..40]);
        bytes[40..].copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        if let Some(header) = BlockHeader::decode(&bytes, 256, &salt) {
            prop_assert!(header.sealed_bytes as usize <= BLOCK_PAYLOAD_BYTES_MAX);
            prop_assert!(header.plain_bytes as usize <= BLOCK_PAYLOAD_BYTES_MAX);
            prop_assert!((1..=7).contains(&kind) && flag <= 2);
        }
    }

    #[test]
    fn changed_entries_never_panic_and_never_pass_a_limit(
        seed: [u8; 32],
        changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..6),
        cut: usize,
    ) {
        let rng = &mut Rng::from_seed(seed);
        let entry = BodyEntry {
            id: BodyId(rng.bytes()),
            raw_bytes: 5,
            coded_bytes: 6,
            block: 7,
            start: 8,
            dictionary: 9,
            codec: Codec::Plain,
        };
        let mut payload = Vec::new();
        for entry in [Entry::Body(entry), Entry::Record(arrival(rng, 20)), Entry::Record(action(rng))] {
            entry.encode(&mut payload);
        }
        prop_assert_eq!(Entry::decode_all(&payload).unwrap().len(), 3);
        let whole = payload.clone();
        for (at, value) in changes {
            let at = at % payload.len();
            payload[at] = value;
        }
        for entry in Entry::decode_all(&payload).into_iter().flatten() {
            match entry {
                Entry::Body(body) => prop_assert!(body.coded_bytes as usize <= MESSAGE_BYTES_MAX),
                Entry::Record(record) => prop_assert!(record.bytes().len() <= RECORD_BYTES_MAX),
            }
        }
        let cut = cut % whole.len();
        let ends = [0, 54, 54 + 5 + 57];
        prop_assert_eq!(Entry::decode_all(&whole[..cut]).is_ok(), ends.contains(&cut));
    }
}
