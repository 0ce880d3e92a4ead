//! Every target with every committed input.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use evenkeel_fuzz::{Outcome, TARGETS};

fn corpus(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut inputs: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    inputs
}

/// Runs the target with each input, whole and cut at every length. The name of the last input stands in the output when
/// one panics.
#[expect(clippy::print_stdout, reason = "captured unless the test fails")]
fn replay(target: &str) {
    let target = TARGETS.iter().find(|known| known.name == target).unwrap();
    let mut accepted = 0;
    for path in corpus(target.name) {
        println!("{}", path.display());
        let input = std::fs::read(path).unwrap();
        accepted += usize::from((target.run)(&input) == Outcome::Accepted);
        for len in 0..input.len() {
            (target.run)(&input[..len]);
        }
    }
    assert!(accepted > 0, "no input gets as far as being accepted");
}

macro_rules! replays {
    ($($target:ident)*) => {
        $(
            #[test]
            fn $target() {
                replay(stringify!($target));
            }
        )*

        #[test]
        fn every_target_is_replayed_and_has_a_binary() {
            let replayed = [$(stringify!($target)),*];
            let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, replayed);
            for name in names {
                let binary = format!("libfuzzer/fuzz_targets/{name}.rs");
                assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(&binary).is_file(), "{binary}");
            }
        }
    };
}

replays! {
    eap_peer eap_server esp_open esp_seal ike_datagram ike_payloads ike_session profile_mobileconfig profile_sswan profile_toml skf_reassembly
    stream_decoder
}

#[test]
fn the_committed_seeds_are_those_of_the_generator() {
    for seed in evenkeel_fuzz::seeds::all() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(seed.target).join(&seed.name);
        let committed = std::fs::read(&path).unwrap();
        assert!(
            committed == seed.input,
            "{}: run `cargo run -p evenkeel-fuzz --example seeds`",
            path.display()
        );
    }
}
