//! Makes the tables of docs/network-learning.md from simulated networks, prints them and writes them into the page.
//!
//! ```text
//! cargo run -p evenkeel-netprofile --example learning
//! ```

#![allow(clippy::unwrap_used, reason = "the simulation is that of the tests")]
#![allow(clippy::print_stdout, reason = "printing is what it is for")]

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/simulation/idle.rs"]
mod idle;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/simulation/nat.rs"]
mod nat;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/simulation/path.rs"]
mod path;
#[path = "../tests/simulation/rng.rs"]
mod rng;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/simulation/table.rs"]
mod table;

fn main() -> std::io::Result<()> {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/network-learning.md");
    let tables = table::tables();
    println!("{tables}");
    let text = std::fs::read_to_string(&page)?;
    let made = table::replace(&text, &tables)
        .ok_or_else(|| std::io::Error::other("docs/network-learning.md has lost its markers"))?;
    std::fs::write(&page, made)
}
