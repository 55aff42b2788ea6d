//! What the fuzz targets start from (`fuzz/corpus`), and mutations of it, through the same two functions: always the same
//! ones, so that a failure here is never luck.

use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRng, TestRunner};

use crate::socket::fuzz;

const MUTATIONS: u32 = 1500;

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target);
    let mut paths: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    paths.sort();
    let seeds: Vec<_> = paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    assert!(seeds.len() >= 8, "{target}: {} seeds", seeds.len());
    seeds
}

/// One change of some bytes.
#[derive(Debug, Clone)]
enum Edit {
    Replace(usize, u8),
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
    Repeat(usize, usize, usize),
    /// The end of another seed.
    Splice(usize, usize, usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = any::<usize>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Edit::Replace(at, byte)),
        (at(), proptest::collection::vec(any::<u8>(), 1..9))
            .prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        (at(), 1..40_usize).prop_map(|(at, length)| Edit::Remove(at, length)),
        (at(), 1..60_usize, 1..40_usize)
            .prop_map(|(at, length, times)| Edit::Repeat(at, length, times)),
        (at(), at(), at()).prop_map(|(at, seed, from)| Edit::Splice(at, seed, from)),
    ]
}

fn apply(bytes: &mut Vec<u8>, edit: &Edit, seeds: &[Vec<u8>]) {
    let within = |at: usize, length: usize| at % (length + 1);
    match edit {
        Edit::Replace(at, byte) => {
            let at = within(*at, bytes.len());
            if let Some(place) = bytes.get_mut(at) {
                *place = *byte;
            }
        }
        Edit::Insert(at, new) => {
            let at = within(*at, bytes.len());
            bytes.splice(at..at, new.iter().copied());
        }
        Edit::Remove(at, length) => {
            let at = within(*at, bytes.len());
            let end = (at + length).min(bytes.len());
            bytes.drain(at..end);
        }
        Edit::Repeat(at, length, times) => {
            let at = within(*at, bytes.len());
            let piece = bytes[at..(at + length).min(bytes.len())].repeat(*times);
            bytes.splice(at..at, piece);
        }
        Edit::Splice(at, seed, from) => {
            let other = &seeds[seed % seeds.len()];
            bytes.truncate(within(*at, bytes.len()));
            bytes.extend_from_slice(&other[within(*from, other.len())..]);
        }
    }
}

fn replay(target: &str, feed: fn(&[u8])) {
    let seeds = corpus(target);
    seeds.iter().for_each(|seed| feed(seed));
    let config = Config {
        cases: MUTATIONS,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(config.rng_algorithm);
    let edits = proptest::collection::vec(edit(), 1..6);
    TestRunner::new_with_rng(config, rng)
        .run(&(any::<usize>(), edits), |(seed, edits)| {
            let mut bytes = seeds[seed % seeds.len()].clone();
            edits
                .iter()
                .for_each(|edit| apply(&mut bytes, edit, &seeds));
            feed(&bytes);
            Ok(())
        })
        .unwrap();
}

#[test]
fn xml_rpc_survives_the_corpus_and_its_mutations() {
    replay("xml_rpc", fuzz::xml_rpc);
}

#[test]
fn http_survives_the_corpus_and_its_mutations() {
    replay("http", fuzz::http);
}
