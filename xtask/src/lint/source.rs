//! Rules about the text of source files that no compiler knows.

use std::path::Path;

use anyhow::{Context, bail};

use super::switches;
use crate::workspace;

/// A file beyond this is several files.
const LONGEST: usize = 800;

/// A rule: which files it looks at, and what is wrong with a line of one.
struct Rule {
    applies: fn(&str) -> bool,
    breaks: fn(&str) -> bool,
    says: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        applies: |file| file.starts_with("crates/ipsec/src/esp"),
        breaks: |line| line.contains("crate::ike") || line.contains("super::ike"),
        says: "`ipsec::esp` must not import `ipsec::ike`",
    },
    Rule {
        applies: |file| !file.starts_with("platform/"),
        breaks: |line| line.contains("allow(unsafe_code)"),
        says: "only `platform` may hold unsafe code",
    },
];

pub(super) fn check() -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    for file in workspace::files("*.rs")? {
        let text = std::fs::read_to_string(workspace::root().join(&file))
            .with_context(|| format!("reading {}", file.display()))?;
        wrong.extend(faults(&file, &text));
        let switches = switches::misplaced(&file, &text)?;
        wrong.extend(switches.iter().map(|line| {
            format!(
                "{}:{line}: what differs by operating system belongs in `platform`, or at an entry point",
                file.display()
            )
        }));
    }
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    Ok(())
}

/// What is wrong with one file.
fn faults(file: &Path, text: &str) -> Vec<String> {
    let name = file.display().to_string();
    let mut wrong = Vec::new();
    let length = text.lines().count();
    if length > LONGEST {
        wrong.push(format!("{name}: {length} lines; split it (at most {LONGEST})"));
    }
    if file.file_name().is_some_and(|last| last == "utils.rs" || last == "helpers.rs") {
        wrong.push(format!("{name}: name the file for what is in it"));
    }
    // The rules quote what they look for.
    for rule in RULES.iter().filter(|rule| (rule.applies)(&name) && !name.starts_with("xtask/")) {
        let product = text.lines().take_while(|line| !line.starts_with("mod tests {")).enumerate();
        for (number, line) in product.filter(|(_, line)| (rule.breaks)(line)) {
            wrong.push(format!("{name}:{}: {}: {}", number + 1, rule.says, line.trim()));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_more_than_800_lines_is_a_fault() {
        assert!(faults(Path::new("a.rs"), &"\n".repeat(800)).is_empty());
        assert_eq!(faults(Path::new("a.rs"), &"\n".repeat(801)).len(), 1);
    }

    #[test]
    fn esp_that_imports_ike_is_a_fault() {
        assert_eq!(faults(Path::new("crates/ipsec/src/esp/mod.rs"), "use crate::ike::Session;").len(), 1);
    }
}
