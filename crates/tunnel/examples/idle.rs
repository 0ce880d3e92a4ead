//! Makes the table of docs/network-learning.md of what an idle connection sends, prints it and writes it into the page.
//!
//! ```text
//! cargo run -p evenkeel-tunnel --example idle [-- --print]
//! ```
//!
//! With `--print` the page stays as it is.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "the simulation is that of the tests")]
#![allow(clippy::print_stdout, reason = "printing is what it is for")]

#[path = "../tests/simulation/idle.rs"]
mod idle;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/simulation/nat.rs"]
mod nat;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/simulation/world.rs"]
mod world;

fn main() -> std::io::Result<()> {
    let table = idle::table();
    println!("{table}");
    if std::env::args().any(|argument| argument == "--print") {
        return Ok(());
    }
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/network-learning.md");
    let text = std::fs::read_to_string(&page)?;
    let made = idle::replace(&text, &table)
        .ok_or_else(|| std::io::Error::other("docs/network-learning.md has lost its markers"))?;
    std::fs::write(&page, made)
}
