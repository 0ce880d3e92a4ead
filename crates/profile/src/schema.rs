//! The JSON schema of profile files, for editors and checkers.
use crate::file::ProfileFile;

/// The schema as pretty JSON with a final newline, as published in `docs/profile.schema.json`.
pub fn json_schema() -> String {
    let schema = schemars::schema_for!(ProfileFile);
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_schema_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/profile.schema.json");
        if std::env::var_os("EVENKEEL_WRITE_SCHEMA").is_some() {
            std::fs::write(path, json_schema()).expect("written");
        }
        let published = std::fs::read_to_string(path).expect("docs/profile.schema.json");
        assert!(
            published.replace("\r\n", "\n") == json_schema(),
            "docs/profile.schema.json is stale; run this test with EVENKEEL_WRITE_SCHEMA=1 and commit it"
        );
    }
}
