//! Cargo tools that a machine may lack. They are built once, into a cache outside the clone.

use std::path::PathBuf;

use anyhow::Context;

use crate::process::{Step, find_program};

/// A program of the package registry, at the version we know.
pub(crate) struct Tool {
    /// The binary's name.
    pub(crate) program: &'static str,
    /// The crate that brings it.
    pub(crate) package: &'static str,
    pub(crate) version: &'static str,
    /// Built without optimisation: a checker of a small tree is fast enough, and the build takes a third.
    pub(crate) optimised: bool,
    pub(crate) why: &'static str,
}

pub(crate) const DENY: Tool = Tool {
    program: "cargo-deny",
    package: "cargo-deny",
    version: "0.20.2",
    optimised: false,
    why: "licences, banned crates and sources of dependencies",
};

pub(crate) const MACHETE: Tool = Tool {
    program: "cargo-machete",
    package: "cargo-machete",
    version: "0.9.2",
    optimised: false,
    why: "dependencies that nothing uses",
};

pub(crate) const TYPOS: Tool =
    Tool { program: "typos", package: "typos-cli", version: "1.52.0", optimised: true, why: "spelling" };

pub(crate) const NEXTEST: Tool = Tool {
    program: "cargo-nextest",
    package: "cargo-nextest",
    version: "0.9.143",
    optimised: false,
    why: "a process and a time limit for each test",
};

pub(crate) const FUZZ: Tool = Tool {
    program: "cargo-fuzz",
    package: "cargo-fuzz",
    version: "0.13.2",
    optimised: false,
    why: "coverage-guided fuzzing",
};

pub(crate) const GOTATUN: Tool = Tool {
    program: "gotatun",
    package: "gotatun-cli",
    version: "0.10.2",
    optimised: true,
    why: "the WireGuard client that the benchmark stands beside",
};

impl Tool {
    /// Where the tool is, installed first if need be.
    pub(crate) fn ensure(&self) -> anyhow::Result<PathBuf> {
        if let Some(found) = self.find() {
            return Ok(found);
        }
        println!("installing {} {}: {}", self.package, self.version, self.why);
        let root = cache()?.join("tools");
        let mut install = Step::cargo()
            .args(["install", "--quiet", "--locked", "--root"])
            .args([&root])
            .args([format!("{}@{}", self.package, self.version)])
            .env("CARGO_TARGET_DIR", root.join("build"));
        if !self.optimised {
            install = install.args(["--debug"]);
        }
        install.run()?;
        self.find().with_context(|| format!("{} did not bring {}", self.package, self.program))
    }

    /// Where the tool is, if it is here.
    pub(crate) fn find(&self) -> Option<PathBuf> {
        let tools = cache().ok()?.join("tools");
        [tools.join("bin"), tools.join("pip/bin")]
            .map(|folder| folder.join(self.program))
            .into_iter()
            .find(|program| program.is_file())
            .or_else(|| find_program(self.program))
    }
}

/// Installs `typos` from its prebuilt wheel where there is a pip, which takes a second instead of minutes.
pub(crate) fn typos() -> anyhow::Result<PathBuf> {
    if let Some(found) = TYPOS.find() {
        return Ok(found);
    }
    if find_program("python3").is_some() {
        println!("installing typos {}: {}", TYPOS.version, TYPOS.why);
        let into = cache()?.join("tools/pip");
        let installed = Step::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"])
            .args([&into])
            .args([format!("typos=={}", TYPOS.version)])
            .status()?;
        if installed.success() {
            return TYPOS.find().context("the wheel of typos holds no program");
        }
        println!("no usable pip; building typos instead");
    }
    TYPOS.ensure()
}

/// The folder for what outlives a clone.
pub(crate) fn cache() -> anyhow::Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?)
            .join(".cache"),
    };
    Ok(base.join("evenkeel"))
}
