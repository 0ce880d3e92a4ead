//! Where code differs by operating system: in `platform` and at entry points, and nowhere else.

use std::path::Path;

use anyhow::Context;
use proc_macro2::{Ident, TokenStream, TokenTree};

/// What a `cfg` predicate says of the system.
const SYSTEM: &[&str] =
    &["unix", "windows", "target_os", "target_family", "target_env", "target_vendor", "target_abi"];

/// Made of what Linux alone has, and empty elsewhere.
const LAB: &str = "tests/lab";

/// Lines of `text` that may not differ by operating system and do.
pub(super) fn misplaced(file: &Path, text: &str) -> anyhow::Result<Vec<usize>> {
    let place = Place::of(file);
    if place == Place::Anything {
        return Ok(Vec::new());
    }
    let tokens: TokenStream =
        text.parse().ok().with_context(|| format!("{} is not made of Rust's tokens", file.display()))?;
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let begin = if place == Place::Root { root_condition(&tokens) } else { 0 };
    let mut lines = Vec::new();
    find(tokens.get(begin..).unwrap_or_default(), &mut lines);
    lines.dedup();
    Ok(lines)
}

/// What a file may do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Differ by system anywhere.
    Anything,
    /// Be there on some systems and be empty on others: `#![cfg(...)]` before everything else, in the lab.
    Root,
    Nothing,
}

impl Place {
    fn of(file: &Path) -> Self {
        let name = file.file_name().unwrap_or_default();
        let is_in = |folder: &str| file.components().any(|part| part.as_os_str() == folder);
        let is_program = name == "build.rs" || name == "main.rs" && is_in("src");
        if file.starts_with("platform") || file.starts_with("installer") || is_program {
            Self::Anything
        } else if file.starts_with(LAB)
            && (name == "lib.rs"
                || name == "main.rs"
                || file.parent().is_some_and(|dir| dir.ends_with("tests")))
        {
            Self::Root
        } else {
            Self::Nothing
        }
    }
}

/// How many tokens the inner attributes take that a file begins with.
fn root_condition(tokens: &[TokenTree]) -> usize {
    tokens.chunks_exact(3).take_while(|three| is(&three[0], '#') && is(&three[1], '!')).count() * 3
}

/// Adds the lines of predicates about the system, however deep: `cfg(...)`, `cfg_attr(...)`, `cfg!(...)` and
/// `cfg_select! {...}`.
fn find(tokens: &[TokenTree], lines: &mut Vec<usize>) {
    for (at, token) in tokens.iter().enumerate() {
        let predicate = match &tokens[at + 1..] {
            [TokenTree::Group(group), ..] => Some(group),
            [mark, TokenTree::Group(group), ..] if is(mark, '!') => Some(group),
            _ => None,
        };
        match (token, predicate) {
            (TokenTree::Ident(name), Some(predicate)) if asks(name) && names_system(predicate.stream()) => {
                lines.push(name.span().start().line);
            }
            (TokenTree::Group(group), _) => find(&group.stream().into_iter().collect::<Vec<_>>(), lines),
            _ => {}
        }
    }
}

fn is(token: &TokenTree, mark: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == mark)
}

fn asks(name: &Ident) -> bool {
    ["cfg", "cfg_attr", "cfg_select"].iter().any(|word| name == word)
}

fn names_system(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(name) => SYSTEM.iter().any(|word| name == word),
        TokenTree::Group(group) => names_system(group.stream()),
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(file: &str, text: &str) -> Vec<usize> {
        misplaced(Path::new(file), text).unwrap()
    }

    #[test]
    fn every_way_to_ask_for_the_system_is_seen() {
        for asked in [
            "#[cfg(unix)] fn f() {}",
            "#[cfg(windows)] fn f() {}",
            "#[cfg(not(unix))] fn f() {}",
            "#[cfg(any(test, all(feature = \"x\", target_os = \"macos\")))] fn f() {}",
            "#[cfg(target_family = \"unix\")] fn f() {}",
            "#[cfg_attr(windows, path = \"a.rs\")] mod a;",
            "#[cfg_attr(\n    not(target_os = \"linux\"),\n    allow(dead_code)\n)] fn f() {}",
            "#![cfg(unix)]",
            "fn f() -> bool { cfg!(windows) }",
            "fn f() { std::cfg_select! { unix => {} _ => {} } }",
            "mod tests { mod deeper { #[cfg(unix)] #[test] fn t() {} } }",
        ] {
            assert_eq!(lines("crates/daemon/src/dns.rs", asked), [1], "{asked}");
        }
    }

    #[test]
    fn other_conditions_and_mere_words_are_no_switches() {
        for text in [
            "#[cfg(test)] mod tests {}",
            "#[cfg(all(test, feature = \"windows\"))] mod tests {}",
            "#[cfg(target_arch = \"x86_64\")] fn f() {}",
            "/// `#[cfg(unix)]` would not do.\nfn f() -> &'static str { \"#[cfg(unix)]\" }",
            "use tokio::signal::unix; fn f(cfg: C) { cfg.unix() }",
        ] {
            assert_eq!(lines("crates/daemon/src/dns.rs", text), [0; 0], "{text}");
        }
    }

    #[test]
    fn the_line_is_that_of_the_predicate() {
        assert_eq!(lines("tests/lab/src/nat.rs", "\n\nmod a {\n    #[cfg(unix)]\n    fn f() {}\n}\n"), [4]);
    }

    #[test]
    fn platform_and_entry_points_may_differ_by_system() {
        let switch = "//! Text.\n\n#[cfg(unix)]\nfn f() {}";
        for file in [
            "platform/src/dns.rs",
            "platform/tests/dns.rs",
            "crates/cli/src/main.rs",
            "xtask/build.rs",
            "tests/lab/src/bin/lab/main.rs",
        ] {
            assert_eq!(lines(file, switch), [0; 0], "{file}");
        }
        for file in [
            "crates/cli/src/output.rs",
            "crates/cli/tests/program.rs",
            "xtask/src/process.rs",
            "src/main/a.rs",
        ] {
            assert_eq!(lines(file, switch), [3], "{file}");
        }
    }

    #[test]
    fn in_the_lab_a_whole_library_or_test_program_may_be_for_one_system() {
        let text = "//! Text.\n#![cfg(unix)]\n#![forbid(unsafe_code)]\n\n#[cfg(unix)]\nfn f() {}";
        for root in ["tests/lab/src/lib.rs", "tests/lab/tests/a.rs", "tests/lab/tests/b/main.rs"] {
            assert_eq!(lines(root, text), [5], "{root}");
        }
        for part in [
            "tests/lab/src/nat.rs",
            "tests/lab/tests/b/planes.rs",
            "crates/daemon/src/lib.rs",
            "crates/daemon/tests/a.rs",
            "crates/daemon/tests/b/main.rs",
            "tests/fuzz/src/lib.rs",
        ] {
            assert_eq!(lines(part, text), [2, 5], "{part}");
        }
    }
}
