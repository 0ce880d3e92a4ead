//! Not read yet.
use std::path::Path;

use crate::{Loaded, Problem, ProfileError, Secret};

/// Parses such a file.
pub fn parse(file: &Path, _bytes: &[u8], _passphrase: Option<&Secret>) -> Result<Loaded, ProfileError> {
    Err(ProfileError { file: file.to_owned(), place: None, key: None, problem: Problem::NotAProfile })
}
