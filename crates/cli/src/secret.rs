//! Secrets from the terminal or from standard input; never from the command line, where others can read them.
use std::io::{self, IsTerminal, Read};

use evenkeel_profile::{Secret, SecretKind};
use zeroize::Zeroizing;

use crate::exit::{Exit, Failure};
use crate::explain::Explanation;

/// Longest secret that is read.
const MAX: u64 = 64 << 10;

/// Whether there is somebody to ask.
pub(crate) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks on the terminal, without echo. `about` says what the secret is for.
pub(crate) fn ask(kind: SecretKind, about: &str) -> Result<Secret, Failure> {
    let what = match kind {
        SecretKind::Password => "Password",
        SecretKind::Psk => "Pre-shared key",
        SecretKind::PrivateKey => "Passphrase",
        SecretKind::WireguardPrivateKey => "WireGuard private key",
        SecretKind::WireguardPresharedKey => "WireGuard pre-shared key",
    };
    rpassword::prompt_password(format!("{what} for {about}: ")).map(Secret::new).map_err(|error| {
        let now = "Feed it with --password-stdin (on import: --passphrase-stdin).";
        Failure::new(Exit::Other, Explanation::new("The terminal can't be read.", error.to_string(), now))
    })
}

/// Reads the first line of standard input.
pub(crate) fn from_stdin() -> Result<Secret, Failure> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(1024));
    io::stdin().lock().take(MAX).read_to_end(&mut bytes).map_err(Failure::from)?;
    first_line(&bytes).ok_or_else(|| {
        let why = "It is empty, or not UTF-8 text.";
        Failure::new(
            Exit::Usage,
            Explanation::new("Standard input holds no secret.", why, "Feed one line with it."),
        )
    })
}

fn first_line(bytes: &[u8]) -> Option<Secret> {
    let line = bytes.split(|b| *b == b'\n').next()?;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    std::str::from_utf8(line).ok().filter(|text| !text.is_empty()).map(Secret::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_the_secret_blanks_and_all() {
        for (input, secret) in [("a b \n", "a b "), ("x\r\ny\n", "x"), ("no end", "no end")] {
            assert_eq!(first_line(input.as_bytes()).as_ref().map(Secret::expose), Some(secret));
        }
        for input in [&b""[..], b"\nx", &[0xff, b'\n']] {
            assert!(first_line(input).is_none());
        }
    }
}
