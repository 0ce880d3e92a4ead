//! Inputs made of valid encodings, for a search to start from. Profiles are not among them: those are written by hand.

mod eap;
mod esp;
mod ike;
mod profile;
mod session;
mod stream;

/// One input.
pub struct Seed {
    /// The target that it is for.
    pub target: &'static str,
    /// What it is; the name of its file.
    pub name: String,
    /// The bytes.
    pub input: Vec<u8>,
}

impl Seed {
    fn new(target: &'static str, name: &str, input: Vec<u8>) -> Self {
        Self { target, name: name.to_owned(), input }
    }
}

/// All of them.
#[must_use]
pub fn all() -> Vec<Seed> {
    let mut seeds = Vec::new();
    ike::add(&mut seeds);
    eap::add(&mut seeds);
    esp::add(&mut seeds);
    profile::add(&mut seeds);
    session::add(&mut seeds);
    stream::add(&mut seeds);
    seeds
}
