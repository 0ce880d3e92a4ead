//! Reading a profile and the files it refers to, in the caller's process and with the caller's rights.
use std::fs::File;
use std::io::Read;
use std::path::Path;

use zeroize::Zeroizing;

use crate::file::ProfileFile;
use crate::locate::Locator;
use crate::resolve::{Fault, ReadReference, resolve};
use crate::{
    FileProblem, MAX_FILE, Problem, Profile, ProfileError, ProfileName, Secret, Secrets, Warning, import,
};

/// What the caller adds to a file.
#[derive(Clone, Default)]
pub struct ImportOptions {
    /// Opens an encrypted private key or PKCS#12 file.
    pub passphrase: Option<Secret>,
    /// Another name than the file's.
    pub name: Option<ProfileName>,
}

/// A profile that loaded.
#[derive(Clone)]
pub struct Loaded {
    /// The profile, without any secret.
    pub profile: Profile,
    /// The secrets that came with it.
    pub secrets: Secrets,
    /// What to tell the person.
    pub warnings: Vec<Warning>,
}

/// Loads a profile file of any of the three formats.
pub fn load(path: &Path, options: &ImportOptions) -> Result<Loaded, ProfileError> {
    let refuse = |problem| ProfileError {
        file: path.to_owned(),
        place: None,
        key: None,
        problem: Problem::Unreadable(problem),
    };
    let bytes = Zeroizing::new(read_bounded(path).map_err(refuse)?);
    let passphrase = options.passphrase.as_ref();
    let mut loaded = match import::Format::detect(path, &bytes) {
        import::Format::Toml => {
            let folder = path.parent().unwrap_or(Path::new(""));
            parse_toml(path, &bytes, passphrase, &mut |name| {
                let file = folder.join(name);
                let contents = read_bounded(&file);
                (file, contents)
            })
        }
        import::Format::MobileConfig => import::mobileconfig::parse(path, &bytes, passphrase),
        import::Format::Sswan => import::sswan::parse(path, &bytes, passphrase),
    }?;
    if let Some(name) = &options.name {
        loaded.profile.name = name.clone();
    }
    Ok(loaded)
}

/// Parses a TOML profile. `file` is for messages only; `read` supplies what the profile refers to.
pub fn parse_toml(
    file: &Path,
    bytes: &[u8],
    passphrase: Option<&Secret>,
    read: &mut ReadReference<'_>,
) -> Result<Loaded, ProfileError> {
    let whole = |problem| ProfileError { file: file.to_owned(), place: None, key: None, problem };
    if bytes.len() > MAX_FILE {
        return Err(whole(Problem::Unreadable(FileProblem::TooLarge)));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| whole(Problem::Unreadable(FileProblem::NotText)))?;
    let locator = Locator::new(text.strip_prefix('\u{feff}').unwrap_or(text));
    let parsed: ProfileFile =
        toml::from_str(locator.text()).map_err(|error| explain(file, &locator, &error))?;
    let (profile, secrets, warnings) =
        resolve(parsed, passphrase, read).map_err(|Fault { key, problem }| ProfileError {
            file: file.to_owned(),
            place: key.as_deref().and_then(|k| locator.place_of(k)),
            key,
            problem,
        })?;
    Ok(Loaded { profile, secrets, warnings })
}

/// Gives a parser's message its key and place, and the form that our own messages have.
fn explain(file: &Path, locator: &Locator<'_>, error: &toml::de::Error) -> ProfileError {
    let span = error.span();
    let place = span.as_ref().map(|s| locator.place(s.start));
    let key = span.as_ref().and_then(|s| locator.key_at(s));
    let message = error.message();
    let problem = if !locator.is_toml() {
        Problem::Syntax { format: "TOML", message: message.to_owned() }
    } else {
        Problem::Value(plain(message))
    };
    // The key of a missing one is not in the text; the parser names its table.
    let key = match message.strip_prefix("missing field `").and_then(|m| m.strip_suffix('`')) {
        Some(missing) => Some(key.map_or_else(|| missing.to_owned(), |k| format!("{k}.{missing}"))),
        None => key,
    };
    ProfileError { file: file.to_owned(), place, key, problem }
}

/// serde's wording in ours: what is wrong; what is allowed.
fn plain(message: &str) -> String {
    let (what, allowed) = match message.split_once(", expected ") {
        Some((what, expected)) => (what, Some(expected)),
        None => (message, None),
    };
    let what = if what.starts_with("missing field") {
        "this key is missing".to_owned()
    } else {
        what.replace("unknown field", "unknown key")
            .replace("unknown variant", "unknown value")
            .replace("invalid type:", "wrong type:")
            .replace("invalid value:", "wrong value:")
    };
    match allowed.map(|a| a.trim_start_matches("one of ").replace('`', "")) {
        Some(allowed) => format!("{what}; allowed: {allowed}"),
        None => what,
    }
}

/// A regular file's contents, if they are not larger than anything a profile needs.
fn read_bounded(path: &Path) -> Result<Vec<u8>, FileProblem> {
    let io = |e: std::io::Error| FileProblem::Io(e.kind());
    // Asked before opening: opening a pipe would wait for its writer.
    if !std::fs::metadata(path).map_err(io)?.is_file() {
        return Err(FileProblem::NotAFile);
    }
    let file = File::open(path).map_err(io)?;
    let limit = u64::try_from(MAX_FILE).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() > MAX_FILE { Err(FileProblem::TooLarge) } else { Ok(bytes) }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
