//! `evenkeel profile`.
use std::path::PathBuf;

use evenkeel_ipc::Request;
use evenkeel_profile::{ImportOptions, Loaded, ProfileError, SecretKind, load};

use crate::args::{Import, ProfileCommand};
use crate::daemon;
use crate::escape::plain;
use crate::exit::{Exit, Failure};
use crate::explain::Explanation;
use crate::output::Output;
use crate::{secret, view};

pub(super) async fn run(
    command: ProfileCommand,
    socket: Option<PathBuf>,
    output: &mut Output,
) -> Result<(), Failure> {
    match command {
        ProfileCommand::Import(request) => import(request, socket, output).await,
        ProfileCommand::List { json } => {
            let profiles = daemon::answer(daemon::connect(socket).await?.profiles()).await?;
            if json {
                return output.line(&super::json(&profiles, true)?).map_err(Failure::from);
            }
            if profiles.is_empty() {
                output.note("No profiles yet. Import one with: evenkeel profile import FILE");
                return Ok(());
            }
            let text = view::profile_list(&profiles, output.canvas());
            output.print(&text).map_err(Failure::from)
        }
        ProfileCommand::Show { name, json } => {
            let details = daemon::answer(daemon::connect(socket).await?.profile(name)).await?;
            if json {
                return output.line(&super::json(&details, true)?).map_err(Failure::from);
            }
            let text = view::profile_details(&details, super::now().unix(), output.canvas());
            output.print(&text).map_err(Failure::from)
        }
        ProfileCommand::Remove { name } => {
            let mut client = daemon::connect(socket).await?;
            daemon::answer(client.perform(Request::RemoveProfile { name: name.clone() })).await?;
            output.line(&format!("Removed {name}.")).map_err(Failure::from)
        }
    }
}

async fn import(request: Import, socket: Option<PathBuf>, output: &mut Output) -> Result<(), Failure> {
    let Loaded { profile, secrets, warnings } = read(&request)?;
    for warning in &warnings {
        output.note(&format!("warning: {}", plain(&warning.to_string())));
    }
    let name = profile.name.clone();
    if request.check {
        return output.line(&format!("{name}: the file is a sound profile.")).map_err(Failure::from);
    }
    let mut client = daemon::connect(socket).await?;
    let import =
        Request::ImportProfile { profile, secrets, managed: request.managed, replace: request.replace };
    daemon::answer(client.perform(import)).await?;
    output.line(&format!("Imported {name}. Connect with: evenkeel connect {}", shell_word(name.as_str())))?;
    Ok(())
}

/// Reads the file, asking for a passphrase if one is needed and somebody is there.
fn read(request: &Import) -> Result<Loaded, Failure> {
    let passphrase = if request.passphrase_stdin { Some(secret::from_stdin()?) } else { None };
    let mut options = ImportOptions { passphrase, name: request.name.clone() };
    match load(&request.file, &options) {
        Err(error)
            if error.problem.needs_passphrase() && options.passphrase.is_none() && secret::can_ask() =>
        {
            let about = error.key.as_deref().unwrap_or("the file").to_owned();
            options.passphrase = Some(secret::ask(SecretKind::PrivateKey, &plain(&about))?);
            load(&request.file, &options).map_err(|error| not_imported(&error))
        }
        other => other.map_err(|error| not_imported(&error)),
    }
}

fn not_imported(error: &ProfileError) -> Failure {
    let now = if error.problem.needs_passphrase() {
        "Run the command on a terminal to be asked for it, or feed it with --passphrase-stdin."
    } else {
        "Correct the file and import it again."
    };
    let why = plain(&error.to_string());
    Failure::new(Exit::Configuration, Explanation::new("The profile was not imported.", why, now))
}

/// The name as a shell takes it for one word.
fn shell_word(name: &str) -> String {
    let is_safe = |c: char| c.is_alphanumeric() || "-_.+@:".contains(c);
    if name.chars().all(is_safe) { name.to_owned() } else { format!("'{}'", name.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_where_a_shell_needs_it() {
        assert_eq!(shell_word("Büro"), "Büro");
        assert_eq!(shell_word("my lab"), "'my lab'");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
    }
}
