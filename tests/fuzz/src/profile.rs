//! The importers of profiles. They run in the process of the person who imports, on files from anywhere.

use std::path::{Path, PathBuf};

use evenkeel_profile::{FileProblem, Loaded, Profile, ProfileError, Secret, import, parse_toml};

use crate::Outcome;

/// Evenkeel's own format. Behind the first NUL stands what every file that the profile refers to contains.
pub fn profile_toml(input: &[u8]) -> Outcome {
    let mut parts = input.splitn(2, |octet| *octet == 0);
    let text = parts.next().unwrap_or_default();
    let referenced = parts.next();
    let mut read = |name: &str| {
        let contents = referenced.map(<[u8]>::to_vec).ok_or(FileProblem::NotAFile);
        (PathBuf::from(name), contents)
    };
    check(parse_toml(Path::new("fuzz.toml"), text, Some(&passphrase()), &mut read))
}

/// Apple's format.
pub fn profile_mobileconfig(input: &[u8]) -> Outcome {
    check(import::mobileconfig::parse(Path::new("fuzz.mobileconfig"), input, Some(&passphrase())))
}

/// strongSwan's format for Android.
pub fn profile_sswan(input: &[u8]) -> Outcome {
    check(import::sswan::parse(Path::new("fuzz.sswan"), input, Some(&passphrase())))
}

fn passphrase() -> Secret {
    Secret::new("sesame")
}

/// What was imported reaches the daemon unchanged; what was refused is refused in printable words.
fn check(result: Result<Loaded, ProfileError>) -> Outcome {
    match result {
        Ok(Loaded { profile, warnings, .. }) => {
            let json = serde_json::to_string(&profile).expect("a profile is serialised");
            let received: Profile = serde_json::from_str(&json).expect("a valid profile is received as one");
            assert_eq!(received, profile);
            let _ = format!("{warnings:?}");
            Outcome::Accepted
        }
        Err(error) => {
            let _ = error.to_string();
            Outcome::Refused
        }
    }
}
