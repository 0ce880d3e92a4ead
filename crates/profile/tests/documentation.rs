//! What the documentation says holds.
use std::path::Path;

use evenkeel_profile::{Secret, parse_toml};

#[test]
fn every_example_in_the_documentation_loads() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(folder.join("../../docs/profile.md")).expect("docs/profile.md");
    let mut examples = 0;
    for example in text.split("```toml\n").skip(1) {
        let (example, _) = example.split_once("```").expect("the example ends");
        let passphrase = Secret::new("sesame");
        let loaded =
            parse_toml(Path::new("profile.md"), example.as_bytes(), Some(&passphrase), &mut |name| {
                let name = name.replace("alice.p12", "alice-sesame.p12");
                (
                    name.clone().into(),
                    Ok(std::fs::read(folder.join("tests/data").join(name)).expect("a file of ours")),
                )
            });
        if let Err(error) = loaded {
            panic!("{error}\n{example}");
        }
        examples += 1;
    }
    assert!(examples >= 4, "only {examples} examples were found");
}
