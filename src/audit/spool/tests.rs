//! Segments as they are written, torn and recovered.
//!
//! This file must never look away from a row that was acknowledged.

use proptest::prelude::*;

use super::*;
use crate::audit::chain_writer::ChainWriter;
use crate::audit::record::{AuditId, Record};
use crate::audit::{KeyId, NO_HASH, Row};
use crate::domain::Digest;

const NOW: Micros = Micros(1_795_896_530_000_001);
const ROOM: u64 = 1 << 30;

fn record(n: u64) -> Record {
    Record {
        request_id: format!("request-{n}").into(),
        input_hmac: Some(Digest::of(&n.to_le_bytes())),
        scores: vec![0.25; (n % 5) as usize],
        queue_us: n,
        ..Record::empty(AuditId::at(NOW), Digest::of(b"anonymous"), key())
    }
}

fn key() -> KeyId {
    "k1".parse().unwrap()
}

struct Written {
    _folder: tempfile::TempDir,
    spool: PathBuf,
    dir: ChainDir,
    /// Where each row ends in the open segment.
    ends: Vec<u64>,
}

/// A chain of which `sealed` rows are sealed and `open` are not, as a dead process leaves it.
fn written(sealed: u64, open: u64) -> Written {
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().to_owned();
    let dir = ChainDir::of(&spool, ChainId::at(NOW));
    fs::create_dir(&dir.path).unwrap();
    let mut chain = ChainWriter::new(dir.path.clone(), dir.chain);
    if sealed > 0 {
        chain.append((0..sealed).map(record), NOW, &key(), ROOM, true).unwrap();
        chain.seal(NOW).unwrap().unwrap();
    }
    let mut ends = Vec::new();
    for n in sealed..sealed + open {
        chain.append(std::iter::once(record(n)), NOW, &key(), ROOM, true).unwrap();
        ends.push(chain.segment().unwrap().durable_bytes());
    }
    Written { _folder: folder, spool, dir, ends }
}

/// All rows of a chain, read from its sealed segments; each must hold.
fn rows(dir: &ChainDir) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut hash = NO_HASH;
    for segment in dir.sealed().unwrap() {
        let mut reader = segment.read().unwrap();
        assert_eq!(reader.header().prev_hash, hash, "segments are chained");
        assert_eq!((reader.header().first, segment.chain), (segment.first, dir.chain));
        for stored in reader.by_ref() {
            let stored = stored.unwrap();
            hash = stored.hash;
            rows.push(stored.row);
        }
        let seal = reader.seal().expect("it is sealed");
        assert_eq!((seal.last, seal.last_hash), (segment.last, hash));
    }
    for (n, row) in rows.iter().enumerate() {
        assert_eq!(row.link.seq, n as u64);
        assert_eq!(row.record.queue_us, n as u64);
    }
    rows
}

fn adopted(dir: &ChainDir) -> Recovery {
    dir.try_adopt(NOW).unwrap().expect("nobody holds it").recovery
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_and_every_whole_row_is_kept() {
    let whole = written(2, 4);
    let path = whole.dir.open_segments().unwrap().remove(0);
    let bytes = fs::read(&path).unwrap();
    assert_eq!(*whole.ends.last().unwrap(), bytes.len() as u64);
    for cut in 0..=bytes.len() {
        fs::write(&path, &bytes[..cut]).unwrap();
        let recovery = adopted(&whole.dir);
        let kept = whole.ends.iter().filter(|end| **end <= cut as u64).count();
        let found = rows(&whole.dir);
        assert_eq!(found.len(), 2 + kept, "cut at {cut}");
        assert!(whole.dir.open_segments().unwrap().is_empty());
        let good = whole.ends[..kept].last().copied();
        assert_eq!(recovery.sealed, usize::from(kept > 0));
        if let Some(good) = good {
            assert_eq!(recovery.cut_bytes, cut as u64 - good);
        }
        // What was cut off is kept, to the byte.
        let tail: Vec<u8> = recovery.kept.iter().flat_map(|path| fs::read(path).unwrap()).collect();
        assert!(tail.is_empty() || bytes[..cut].ends_with(&tail), "cut at {cut}");
        // Adopting again changes nothing.
        assert_eq!(adopted(&whole.dir), Recovery::default());
        assert_eq!(rows(&whole.dir).len(), 2 + kept);
        for segment in whole.dir.sealed().unwrap().iter().filter(|segment| segment.first == 2) {
            fs::remove_file(&segment.path).unwrap();
        }
        recovery.kept.iter().for_each(|path| fs::remove_file(path).unwrap());
    }
    assert!(used_bytes(&whole.spool).unwrap() > 0);
}

#[test]
fn a_row_that_does_not_hold_before_whole_rows_is_damage_and_nothing_is_cut() {
    let whole = written(2, 4);
    let path = whole.dir.open_segments().unwrap().remove(0);
    let bytes = fs::read(&path).unwrap();
    let within = |row: usize| usize::try_from(whole.ends[row]).unwrap() - 40;
    // Flipped in the header, the first row, the third: so many rows hold before it, and behind it.
    for (flipped, before, behind) in [(5, 0, 4), (within(0), 0, 3), (within(2), 2, 1)] {
        let mut damaged = bytes.clone();
        damaged[flipped] ^= 0x10;
        fs::write(&path, &damaged).unwrap();
        let error = whole.dir.try_adopt(NOW).unwrap_err();
        let SpoolError::Damaged(damage) = &error else { panic!("{error}") };
        let found = &damage.error;
        assert_eq!((damage.behind.rows, damage.behind.last), (behind, 5), "{error}");
        assert!(found.offset <= flipped as u64, "{error}");
        assert!(error.to_string().contains("truncate -s"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), damaged, "it is left as it is");
        // Whoever reads the spool is told, too, behind the rows that hold.
        let read: Vec<_> = whole.dir.rows().unwrap().collect();
        assert_eq!(read.len(), 2 + before + 1);
        assert!(matches!(read.last(), Some(Err(SpoolError::Damaged(_)))), "{read:?}");
        // As the message says: cut there, the rest is adopted.
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(found.offset).unwrap();
        adopted(&whole.dir);
        assert_eq!(rows(&whole.dir).len(), 2 + before);
        for segment in whole.dir.sealed().unwrap().iter().filter(|segment| segment.first == 2) {
            fs::remove_file(&segment.path).unwrap();
        }
    }
}

#[test]
fn whole_rows_that_do_not_continue_the_chain_are_damage_too() {
    let whole = written(2, 4);
    let path = whole.dir.open_segments().unwrap().remove(0);
    let bytes = fs::read(&path).unwrap();
    let ends: Vec<usize> = whole.ends.iter().map(|end| usize::try_from(*end).unwrap()).collect();
    let [first, second, third] =
        [&bytes[..ends[0]], &bytes[ends[0]..ends[1]], &bytes[ends[1]..ends[2]]];
    let last = &bytes[ends[2]..];
    // A frame taken out, and two that change places: each is whole by itself.
    for (files, rows) in [([first, &[], third, last], 2), ([first, third, second, last], 3)] {
        let changed = files.concat();
        fs::write(&path, &changed).unwrap();
        let error = whole.dir.try_adopt(NOW).unwrap_err();
        let SpoolError::Damaged(damage) = &error else { panic!("{error}") };
        assert_eq!((damage.behind.rows, damage.error.offset), (rows, ends[0] as u64), "{error}");
        assert_eq!(fs::read(&path).unwrap(), changed, "it is left as it is");
    }
}

#[test]
fn a_process_that_died_between_seal_and_name_leaves_a_sealed_segment() {
    let whole = written(3, 0);
    let sealed = whole.dir.sealed().unwrap().remove(0);
    let bytes = fs::read(&sealed.path).unwrap();
    let open = whole.dir.path.join(open_name(0));
    fs::rename(&sealed.path, &open).unwrap();
    assert_eq!(adopted(&whole.dir).cut_bytes, 0);
    assert_eq!(fs::read(&sealed.path).unwrap(), bytes);
    // With something behind the seal it is sealed anew.
    fs::remove_file(&sealed.path).unwrap();
    fs::write(&open, [bytes.as_slice(), b"rubbish"].concat()).unwrap();
    assert_eq!(adopted(&whole.dir).cut_bytes, 7);
    assert_eq!(rows(&whole.dir).len(), 3);
}

#[test]
fn a_living_owners_chain_is_left_alone() {
    let whole = written(0, 2);
    let owner = DirLock::try_acquire(&whole.dir.path.join(OWNER_LOCK)).unwrap().unwrap();
    assert!(whole.dir.try_adopt(NOW).unwrap().is_none());
    assert!(owner.still_holds().unwrap());
    drop(owner);
    let first = whole.dir.try_adopt(NOW).unwrap().unwrap();
    assert!(whole.dir.try_adopt(NOW).unwrap().is_none(), "nor is it adopted twice");
    drop(first);
    let held = whole.dir.try_adopt(NOW).unwrap().unwrap();
    fs::remove_dir_all(&whole.dir.path).unwrap();
    drop(held);
    assert!(whole.dir.try_adopt(NOW).unwrap().is_none(), "what is gone is nobody's");
    assert_eq!(chains(&whole.spool).unwrap(), []);
    assert_eq!(chains(&whole.spool.join("nothing")).unwrap(), []);
}

#[test]
fn an_append_that_finds_no_room_leaves_no_gap() {
    let folder = tempfile::tempdir().unwrap();
    let dir = ChainDir::of(folder.path(), ChainId::at(NOW));
    fs::create_dir(&dir.path).unwrap();
    let mut chain = ChainWriter::new(dir.path.clone(), dir.chain);
    chain.append((0..2).map(record), NOW, &key(), ROOM, true).unwrap();
    let full = chain.append((2..50).map(record), NOW, &key(), 1000, true).unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::QuotaExceeded);
    chain.append((2..4).map(record), NOW, &key(), ROOM, false).unwrap();
    chain.sync().unwrap();
    chain.seal(NOW).unwrap().unwrap();
    assert_eq!(chain.seal(NOW).unwrap(), None, "there is nothing more to seal");
    assert_eq!(rows(&dir).len(), 4);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// What a crash may leave behind what was acknowledged: pages that were written, not written or
    /// written in part.
    #[test]
    fn whatever_stands_behind_acknowledged_rows_they_are_kept(
        open in 1_u64..6,
        acknowledged in 0_usize..6,
        rubbish in prop::collection::vec(any::<u8>(), 0..2000),
    ) {
        let whole = written(1, open);
        let acknowledged = acknowledged.min(whole.ends.len());
        let path = whole.dir.open_segments().unwrap().remove(0);
        let mut bytes = fs::read(&path).unwrap();
        let end = match acknowledged {
            0 => usize::try_from(whole.ends[0]).unwrap() / 2,
            n => usize::try_from(whole.ends[n - 1]).unwrap(),
        };
        bytes.truncate(end);
        bytes.extend(&rubbish);
        fs::write(&path, &bytes).unwrap();
        adopted(&whole.dir);
        prop_assert_eq!(rows(&whole.dir).len(), 1 + acknowledged);
    }

    #[test]
    fn a_flipped_bit_in_a_sealed_segment_is_found(place in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let whole = written(4, 0);
        let sealed = whole.dir.sealed().unwrap().remove(0);
        let mut bytes = fs::read(&sealed.path).unwrap();
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        fs::write(&sealed.path, &bytes).unwrap();
        let found = match sealed.read() {
            Err(error) => Some(error),
            Ok(mut reader) => {
                let wrong = reader.by_ref().find_map(Result::err);
                prop_assert!(wrong.is_some() || reader.seal().is_none());
                wrong
            }
        };
        if let Some(error) = found {
            prop_assert!(error.offset <= place as u64, "{}", error);
            prop_assert_eq!(error.path, sealed.path);
        }
    }
}
