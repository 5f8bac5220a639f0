//! Blobs as a whole: stored, sent, received from honest and from lying peers, damaged, evicted.

#![expect(
    clippy::single_range_in_vec_init,
    reason = "missing parts are lists of ranges, often of one"
)]

use proptest::prelude::*;

use super::*;
use crate::directory::Directory;

/// Lengths around the edges of chunks and groups.
const LENGTHS: [u64; 9] =
    [0, 1, 1024, GROUP - 1, GROUP, GROUP + 1, 2 * GROUP, 5 * GROUP + 7, 37 * GROUP];

fn content(len: u64, seed: u8) -> Vec<u8> {
    let mut bytes = vec![0; len as usize];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

fn open(path: &Path) -> Directory {
    Directory::open(path, Options::default()).unwrap()
}

fn with_quota(path: &Path, blob_quota: u64) -> Directory {
    Directory::open(path, Options { blob_quota, ..Options::default() }).unwrap()
}

/// Two peers: one that has things and one that wants them.
fn two() -> (tempfile::TempDir, Directory, Directory) {
    let place = tempfile::tempdir().unwrap();
    let (from, to) = (open(&place.path().join("from")), open(&place.path().join("to")));
    (place, from, to)
}

fn encoded(blobs: &Blobs, hash: &Hash, range: Range<u64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    blobs.encode_range(hash, range, &mut bytes).unwrap();
    bytes
}

#[test]
fn what_is_put_is_got_after_reopening_too() {
    let place = tempfile::tempdir().unwrap();
    let directory = open(place.path());
    let blobs = directory.blobs();
    let mut hashes = Vec::new();
    for len in LENGTHS {
        let bytes = content(len, 1);
        let hash = blobs.put(&bytes).unwrap();
        assert_eq!(hash, Hash::of(&bytes));
        assert_eq!(blobs.put(&bytes).unwrap(), hash);
        let file = place.path().join("source");
        std::fs::write(&file, &bytes).unwrap();
        assert_eq!(blobs.put_file(&file).unwrap(), (hash, len));
        std::fs::remove_file(&file).unwrap();
        hashes.push((hash, len));
    }
    let usage = blobs.usage();
    assert_eq!((usage.blobs, usage.partial), (LENGTHS.len() as u64, 0));
    assert_eq!(usage.whole, LENGTHS.iter().map(|len| tree::charge(*len)).sum::<u64>());
    directory.close().unwrap();
    drop(blobs);

    let blobs = open(place.path()).blobs();
    hashes.sort();
    assert_eq!(blobs.list(), hashes);
    assert_eq!(blobs.usage(), usage);
    for (hash, len) in hashes {
        assert_eq!(blobs.get(&hash).unwrap(), content(len, 1));
        blobs.verify(&hash).unwrap();
    }
}

#[test]
fn a_file_put_by_streaming_has_the_same_digest_as_in_memory() {
    let place = tempfile::tempdir().unwrap();
    let blobs = open(&place.path().join("peer")).blobs();
    let bytes = content(100 * GROUP + 3, 9);
    let path = place.path().join("file");
    std::fs::write(&path, &bytes).unwrap();
    let (hash, len) = blobs.put_file(&path).unwrap();
    assert_eq!((hash, len), (Hash::of(&bytes), bytes.len() as u64));
    assert!(matches!(blobs.put_file(place.path()), Err(BlobError::Changed { .. })));
    assert!(matches!(blobs.put_reader(&bytes[..10], 11), Err(BlobError::Stream(_))));
    assert_eq!(blobs.usage().partial, 0, "a failed put gives its room back");
}

#[test]
fn damage_on_disk_is_found_on_reading_and_the_blob_dropped() {
    let place = tempfile::tempdir().unwrap();
    let blobs = open(place.path()).blobs();
    let bytes = content(3 * GROUP, 1);
    for harm in [|bytes: &mut Vec<u8>| bytes[20_000] ^= 1, |bytes: &mut Vec<u8>| bytes.truncate(5)]
    {
        for use_it in [
            |blobs: &Blobs, hash: &Hash| blobs.get(hash).map(drop),
            |blobs: &Blobs, hash: &Hash| blobs.verify(hash),
            |blobs: &Blobs, hash: &Hash| blobs.encode_range(hash, 0..3 * GROUP, io::sink()),
        ] {
            let hash = blobs.put(&bytes).unwrap();
            let mut harmed = bytes.clone();
            harm(&mut harmed);
            std::fs::write(blobs.inner.data_path(&hash), harmed).unwrap();
            assert!(
                matches!(use_it(&blobs, &hash), Err(BlobError::Damaged(found)) if found == hash)
            );
            assert!(!blobs.has(&hash));
            assert_eq!(blobs.usage().whole, 0);
        }
    }
}

#[test]
fn damaged_or_missing_hash_pairs_are_made_again_from_the_bytes() {
    let place = tempfile::tempdir().unwrap();
    let blobs = open(place.path()).blobs();
    let bytes = content(9 * GROUP, 1);
    let hash = blobs.put(&bytes).unwrap();
    let good = encoded(&blobs, &hash, GROUP..2 * GROUP);
    let path = blobs.inner.pairs_path(&hash);
    let pairs = std::fs::read(&path).unwrap();

    std::fs::remove_file(&path).unwrap();
    assert_eq!(encoded(&blobs, &hash, GROUP..2 * GROUP), good);
    let mut harmed = pairs.clone();
    *harmed.last_mut().unwrap() ^= 1;
    std::fs::write(&path, harmed).unwrap();
    assert!(matches!(blobs.encode_range(&hash, 0..1, io::sink()), Err(BlobError::Repaired(_))));
    assert_eq!(std::fs::read(&path).unwrap(), pairs);
    assert_eq!(encoded(&blobs, &hash, GROUP..2 * GROUP), good);
}

#[test]
fn a_receiver_that_stops_reading_costs_the_sender_nothing() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let place = tempfile::tempdir().unwrap();
    let blobs = open(place.path()).blobs();
    let hash = blobs.put(&content(40 * GROUP, 1)).unwrap();
    assert!(matches!(blobs.encode_range(&hash, 0..GROUP, Gone), Err(BlobError::Stream(_))));
    assert!(matches!(blobs.encode_range(&hash, 0..40 * GROUP, Gone), Err(BlobError::Stream(_))));
    blobs.verify(&hash).unwrap();
}

#[test]
fn every_length_travels_whole_and_takes_as_many_bytes_as_announced() {
    let (_place, from, to) = two();
    for len in LENGTHS {
        let bytes = content(len, 2);
        let hash = from.blobs().put(&bytes).unwrap();
        let stream = encoded(&from.blobs(), &hash, 0..len);
        assert_eq!(encoded_len(len, &(0..len)), Some(stream.len() as u64));
        let receiving = to.blobs().receive(hash, len, len).unwrap();
        assert_eq!(receiving.missing(10), [0..len]);
        receiving.accept(0..len, &stream[..]).unwrap();
        assert!(receiving.length_is_proven(), "{len}");
        assert_eq!(receiving.finish().unwrap(), hash);
        assert_eq!(receiving.finish().unwrap(), hash);
        drop(receiving);
        assert_eq!(to.blobs().get(&hash).unwrap(), bytes);
        assert_eq!(encoded(&to.blobs(), &hash, 0..len), stream, "a receiver can send on");
    }
    assert_eq!(to.blobs().usage(), from.blobs().usage());
    assert_eq!(to.blobs().partials(), []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Ranges in any order, overlapping, some of them with a flipped byte: a bad one is refused and
    /// costs nothing that was accepted, and asking for what is missing ends with the blob.
    #[test]
    fn ranges_in_any_order_with_lies_among_them_end_with_the_blob(
        groups in 1..20_u64,
        odd in 0..GROUP,
        ranges in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..6),
        lies in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..4),
    ) {
        let (_place, from, to) = two();
        let len = groups * GROUP + odd;
        let hash = from.blobs().put(&content(len, 3)).unwrap();
        let receiving = to.blobs().receive(hash, len, len).unwrap();
        for (start, flip) in lies {
            let start = start.index(len as usize) as u64;
            let mut stream = encoded(&from.blobs(), &hash, start..len);
            let before = receiving.missing_bytes();
            let flip = flip.index(stream.len());
            stream[flip] ^= 0x10;
            let refused = receiving.accept(start..len, &stream[..]);
            prop_assert!(matches!(refused, Err(DecodeError::Mismatch { .. })), "{:?}", refused);
            prop_assert!(receiving.missing_bytes() <= before);
        }
        for (start, end) in ranges {
            let start = start.index(len as usize) as u64;
            let end = start + 1 + end.index((len - start) as usize) as u64;
            let stream = encoded(&from.blobs(), &hash, start..end);
            prop_assert_eq!(encoded_len(len, &(start..end)), Some(stream.len() as u64));
            // What follows in the same stream is somebody else's.
            let mut stream = [stream, vec![0xEE; 5]].concat();
            let mut rest = &stream.split_off(0)[..];
            receiving.accept(start..end, &mut rest).unwrap();
            prop_assert_eq!(rest, [0xEE; 5]);
        }
        for range in receiving.missing(usize::MAX) {
            receiving.accept(range.clone(), &encoded(&from.blobs(), &hash, range)[..]).unwrap();
        }
        prop_assert_eq!(receiving.missing(1), []);
        receiving.finish().unwrap();
        prop_assert_eq!(to.blobs().get(&hash).unwrap(), content(len, 3));
        to.blobs().verify(&hash).unwrap();
    }

    /// A claimed length other than the true one never ends with a blob, however it is fed.
    #[test]
    fn a_false_length_is_never_proven(truth in 1..(6 * GROUP), claim in 0..(8 * GROUP)) {
        prop_assume!(truth != claim);
        let (_place, from, to) = two();
        let hash = from.blobs().put(&content(truth, 4)).unwrap();
        let receiving = to.blobs().receive(hash, claim, u64::MAX).unwrap();
        let stream = encoded(&from.blobs(), &hash, 0..truth);
        prop_assert!(receiving.accept(0..claim, &stream[..]).is_err());
        for range in receiving.missing(usize::MAX) {
            let end = range.end.min(truth);
            if range.start < end {
                let stream = encoded(&from.blobs(), &hash, range.start..end);
                let padded = [stream, vec![0; 20 * GROUP as usize]].concat();
                let _ = receiving.accept(range, &padded[..]);
            }
        }
        prop_assert!(!receiving.length_is_proven());
        let unfinished = matches!(receiving.finish(), Err(BlobError::Incomplete { .. }));
        prop_assert!(unfinished);
    }
}

#[test]
fn a_flipped_byte_costs_only_what_follows_it_in_its_range() {
    let (_place, from, to) = two();
    let len = 16 * GROUP;
    let hash = from.blobs().put(&content(len, 5)).unwrap();
    let receiving = to.blobs().receive(hash, len, len).unwrap();
    receiving.accept(0..4 * GROUP, &encoded(&from.blobs(), &hash, 0..4 * GROUP)[..]).unwrap();
    let mut stream = encoded(&from.blobs(), &hash, 8 * GROUP..12 * GROUP);
    // In the last of the four groups.
    let at = stream.len() - 100;
    stream[at] ^= 1;
    match receiving.accept(8 * GROUP..12 * GROUP, &stream[..]) {
        Err(DecodeError::Mismatch { offset }) => assert_eq!(offset, 11 * GROUP),
        other => panic!("{other:?}"),
    }
    assert_eq!(receiving.missing(9), [4 * GROUP..8 * GROUP, 11 * GROUP..len]);
    assert_eq!(receiving.missing(1), [4 * GROUP..8 * GROUP]);
    let stream = encoded(&from.blobs(), &hash, 4 * GROUP..5 * GROUP);
    let cut = receiving.accept(4 * GROUP..5 * GROUP, &stream[..stream.len() - 1]);
    assert!(matches!(cut, Err(DecodeError::Truncated)));
    assert!(matches!(receiving.accept(0..len + 1, io::empty()), Err(DecodeError::Range { .. })));
    assert!(matches!(receiving.accept(7..7, io::empty()), Err(DecodeError::Range { .. })));
    assert!(matches!(receiving.finish(), Err(BlobError::Incomplete { missing: 9, .. })));
}

#[test]
fn receiving_goes_on_where_it_stopped_also_in_another_run() {
    let place = tempfile::tempdir().unwrap();
    let from = open(&place.path().join("from")).blobs();
    let len = 10 * GROUP + 1;
    let hash = from.put(&content(len, 6)).unwrap();
    let to = open(&place.path().join("to"));
    let receiving = to.blobs().receive(hash, len, len).unwrap();
    assert!(matches!(to.blobs().receive(hash, len, len), Err(BlobError::Busy(_))));
    assert!(matches!(to.blobs().remove_partial(&hash), Err(BlobError::Busy(_))));
    receiving
        .accept(3 * GROUP..6 * GROUP, &encoded(&from, &hash, 3 * GROUP..6 * GROUP)[..])
        .unwrap();
    drop(receiving);
    let usage = to.blobs().usage();
    assert_eq!((usage.whole, usage.partial), (0, tree::charge(len)));
    drop(to);

    let to = open(&place.path().join("to")).blobs();
    assert_eq!(to.usage(), usage);
    assert_eq!(to.partials(), [(hash, len)]);
    let receiving = to.receive(hash, len, len).unwrap();
    assert_eq!(receiving.missing(9), [0..3 * GROUP, 6 * GROUP..len]);
    for range in receiving.missing(9) {
        receiving.accept(range.clone(), &encoded(&from, &hash, range)[..]).unwrap();
    }
    receiving.finish().unwrap();
    drop(receiving);
    assert_eq!(to.get(&hash).unwrap(), content(len, 6));
    assert_eq!(to.usage(), from.usage());
}

#[test]
fn damaged_progress_or_another_length_begins_anew() {
    let (_place, from, to) = two();
    let len = 4 * GROUP;
    let hash = from.blobs().put(&content(len, 7)).unwrap();
    let blobs = to.blobs();
    let part = encoded(&from.blobs(), &hash, 0..GROUP);
    let bits = blobs.inner.partial_dir().join(format!("{hash}.bits"));
    let begin = || {
        let receiving = blobs.receive(hash, len, len).unwrap();
        receiving.accept(0..GROUP, &part[..]).unwrap();
        assert_eq!(receiving.missing(9), [GROUP..len]);
    };
    begin();
    let mut harmed = std::fs::read(&bits).unwrap();
    harmed[16] |= 2;
    std::fs::write(&bits, harmed).unwrap();
    assert_eq!(blobs.receive(hash, len, len).unwrap().missing(9), [0..len]);
    begin();
    assert_eq!(blobs.receive(hash, len + 1, len + 1).unwrap().missing(9), [0..len + 1]);
    assert_eq!(blobs.usage().partial, tree::charge(len + 1));
    assert!(blobs.remove_partial(&hash).unwrap());
    assert!(!blobs.remove_partial(&hash).unwrap());
    assert_eq!(blobs.usage().partial, 0);
    assert_eq!(std::fs::read_dir(blobs.inner.partial_dir()).unwrap().count(), 0);
}

#[test]
fn several_providers_at_once_make_one_blob() {
    let (_place, from, to) = two();
    let len = 64 * GROUP;
    let hash = from.blobs().put(&content(len, 8)).unwrap();
    let receiving = to.blobs().receive(hash, len, len).unwrap();
    std::thread::scope(|scope| {
        for provider in 0..4 {
            let (receiving, from) = (&receiving, from.blobs());
            scope.spawn(move || {
                for part in 0..4 {
                    let start = (part * 4 + provider) * 4 * GROUP;
                    let range = start..start + 4 * GROUP;
                    receiving.accept(range.clone(), &encoded(&from, &hash, range)[..]).unwrap();
                }
            });
        }
    });
    receiving.finish().unwrap();
    to.blobs().verify(&hash).unwrap();
}

#[test]
fn the_quota_holds_for_whole_and_partial_blobs_until_something_is_removed() {
    let place = tempfile::tempdir().unwrap();
    let quota = 10 * GROUP;
    let directory = with_quota(place.path(), quota);
    let blobs = directory.blobs();
    let big = blobs.put(&content(8 * GROUP, 1)).unwrap();
    let used = blobs.usage().whole;
    let refused = blobs.put(&content(4 * GROUP, 2));
    let needed = tree::charge(4 * GROUP);
    assert!(
        matches!(refused, Err(BlobError::Quota { needed: n, used: u, quota: q }) if (n, u, q) == (needed, used, quota))
    );
    let claimed = blobs.receive(Hash::of(b"x"), 4 * GROUP, u64::MAX);
    assert!(matches!(claimed, Err(BlobError::Quota { .. })));
    let wild = blobs.receive(Hash::of(b"x"), u64::MAX, u64::MAX);
    assert!(matches!(wild, Err(BlobError::TooLong { max: MAX_BLOB, .. })));
    let wild = blobs.put_reader(io::empty(), u64::MAX);
    assert!(matches!(wild, Err(BlobError::Quota { .. })));
    assert!(matches!(
        blobs.receive(Hash::of(b"x"), 101, 100),
        Err(BlobError::TooLong { len: 101, max: 100 })
    ));
    assert_eq!(blobs.put(&content(8 * GROUP, 1)).unwrap(), big, "what is here needs no room");

    assert!(blobs.remove(&big).unwrap());
    assert!(!blobs.remove(&big).unwrap());
    assert!(matches!(blobs.get(&big), Err(BlobError::Missing(_))));
    blobs.put(&content(4 * GROUP, 2)).unwrap();
    let receiving = blobs.receive(Hash::of(b"x"), 4 * GROUP, u64::MAX).unwrap();
    assert!(matches!(blobs.put(&content(4 * GROUP, 3)), Err(BlobError::Quota { .. })));
    drop(receiving);
    blobs.remove_partial(&Hash::of(b"x")).unwrap();
    blobs.put(&content(4 * GROUP, 3)).unwrap();
}

#[test]
fn leftovers_of_a_crash_are_cleared_away() {
    let place = tempfile::tempdir().unwrap();
    let directory = open(place.path());
    let blobs = directory.blobs();
    let hash = blobs.put(&content(3 * GROUP, 1)).unwrap();
    let (data, pairs) = (blobs.inner.data_path(&hash), blobs.inner.pairs_path(&hash));
    let root = blobs.inner.root.clone();
    drop((blobs, directory));
    std::fs::write(root.join(TEMPORARY_DIR).join(".tmp-123"), b"half").unwrap();
    std::fs::write(root.join(PARTIAL_DIR).join(format!("{hash}.bits")), b"half").unwrap();
    std::fs::write(&data, b"").unwrap();
    let directory = open(place.path());
    assert_eq!(directory.blobs().list(), []);
    assert!(!data.exists() && !pairs.exists());
    for directory in [TEMPORARY_DIR, PARTIAL_DIR] {
        assert_eq!(std::fs::read_dir(root.join(directory)).unwrap().count(), 0);
    }
}

#[test]
fn what_came_before_a_crash_is_found_again_without_its_bits() {
    let (place, from, to) = two();
    let len = 37 * GROUP + 5;
    let hash = from.blobs().put(&content(len, 9)).unwrap();
    let receiving = to.blobs().receive(hash, len, len).unwrap();
    receiving
        .accept(0..10 * GROUP, encoded(&from.blobs(), &hash, 0..10 * GROUP).as_slice())
        .unwrap();
    receiving.save().unwrap();
    receiving
        .accept(20 * GROUP..len, encoded(&from.blobs(), &hash, 20 * GROUP..len).as_slice())
        .unwrap();
    // As a killed process leaves it: what was written is there, the bits are those of the last save.
    let bits = place.path().join("to/blobs/partial").join(format!("{hash}.bits"));
    let saved = std::fs::read(&bits).unwrap();
    drop(receiving);
    std::fs::write(&bits, &saved).unwrap();
    let data = place.path().join("to/blobs/partial").join(format!("{hash}.data"));
    let mut bytes = std::fs::read(&data).unwrap();
    bytes[usize::try_from(25 * GROUP).unwrap()] ^= 1;
    std::fs::write(&data, &bytes).unwrap();
    let receiving = to.blobs().receive(hash, len, len).unwrap();
    assert_eq!(receiving.missing(9), [10 * GROUP..20 * GROUP, 25 * GROUP..26 * GROUP]);
}

#[test]
fn a_part_is_given_on_before_the_rest_has_come() {
    let (place, from, to) = two();
    let third = open(&place.path().join("third"));
    let len = 37 * GROUP + 5;
    let hash = from.blobs().put(&content(len, 10)).unwrap();
    let (some, rest) = (8 * GROUP..13 * GROUP, 13 * GROUP..14 * GROUP);
    let receiving = to.blobs().receive(hash, len, len).unwrap();
    receiving.accept(some.clone(), encoded(&from.blobs(), &hash, some.clone()).as_slice()).unwrap();
    assert!(receiving.has(&some) && !receiving.has(&(0..1)) && !receiving.has(&(8 * GROUP..len)));
    let mut bytes = Vec::new();
    receiving.encode_range(some.clone(), &mut bytes).unwrap();
    assert_eq!(bytes, encoded(&from.blobs(), &hash, some.clone()));
    assert!(matches!(receiving.encode_range(rest, io::sink()), Err(BlobError::Range { .. })));
    let next = third.blobs().receive(hash, len, len).unwrap();
    let mut kept = Vec::new();
    next.accept_with(some.clone(), bytes.as_slice(), |upto, fresh| kept.push((upto, fresh)))
        .unwrap();
    next.accept_with(some, bytes.as_slice(), |_, fresh| assert!(!fresh)).unwrap();
    assert_eq!(kept, (9..=13).map(|group| (group * GROUP, true)).collect::<Vec<_>>());
}

#[test]
fn the_order_of_use_survives_a_restart_and_parts_go_before_all_else() {
    let place = tempfile::tempdir().unwrap();
    let directory = open(place.path());
    let blobs = directory.blobs();
    let hashes: Vec<Hash> = (0..3).map(|seed| blobs.put(&content(100, seed)).unwrap()).collect();
    let path = |hash: &Hash| {
        let name = hash.to_string();
        place.path().join("blobs").join(&name[..2]).join(&name[2..])
    };
    for (age, hash) in hashes.iter().enumerate() {
        let then = SystemTime::now() - Duration::from_secs(7200 + 60 * age as u64);
        File::open(path(hash)).unwrap().set_modified(then).unwrap();
    }
    drop(blobs);
    directory.close().unwrap();
    let directory = open(place.path());
    let blobs = directory.blobs();
    blobs.touch(&hashes[2]);
    drop(blobs);
    directory.close().unwrap();
    let directory = open(place.path());
    let blobs = directory.blobs();
    drop(blobs.receive(Hash([1; 32]), 5 * GROUP, 5 * GROUP).unwrap());
    let mut stored = blobs.stored();
    stored.sort_by_key(|one| one.used);
    let order: Vec<Hash> = stored.iter().map(|one| one.hash).collect();
    assert_eq!(order, [Hash([1; 32]), hashes[1], hashes[0], hashes[2]]);
    assert!(blobs.give_up(&Hash([1; 32])).unwrap() && blobs.give_up(&hashes[1]).unwrap());
    assert!(!blobs.give_up(&hashes[1]).unwrap());
    assert_eq!(blobs.usage().partial, 0);
}
