//! macOS, from here: `cargo check`. C code is compiled with zig, which carries Apple's interfaces; nothing is linked
//! and nothing is run.

use std::{fs, path::PathBuf};

use anyhow::{Context, ensure};

use super::{
    report::{Outcome, Report},
    toolchain::{Library, Toolchain, cache},
};
use crate::{
    packages::{self, Need, What},
    process::Step,
};

const TARGET: &str = "aarch64-apple-darwin";
const ZIG_VERSION: &str = "0.15.2";

const NEEDS: &[Need] =
    &[Need { what: What::Program("pip3"), packages: &["python3-pip"], why: "zig comes as a Python package" }];

pub(super) fn run(report: &mut Report) {
    let mut ready = Err("nothing was built".to_owned());
    report.piece("macOS: toolchain", || {
        let prepared =
            Toolchain::prepare(TARGET, Library::Checked).and_then(|rust| Ok((rust, Zig::prepare()?)));
        ready = prepared.map_err(|error| format!("{error:#}"));
        Ok(match &ready {
            Ok(_) => Outcome::Passed(String::new()),
            Err(why) => Outcome::NotRun(why.clone()),
        })
    });
    let Ok((rust, zig)) = ready else { return };
    report.piece("macOS: cargo check", || {
        let check =
            rust.cargo("check").args(["--workspace", "--keep-going", "--all-targets", "--all-features"]);
        zig.compiles_c(check).run()?;
        Ok(Outcome::Passed("nothing was run".to_owned()))
    });
}

/// A C compiler for macOS.
struct Zig {
    folder: PathBuf,
}

impl Zig {
    fn prepare() -> anyhow::Result<Self> {
        let folder = cache()?.join(format!("zig-{ZIG_VERSION}"));
        let program = folder.join("ziglang/zig");
        if !program.exists() {
            packages::ensure(NEEDS)?;
            println!("installing ziglang {ZIG_VERSION}: a C compiler with Apple's interfaces");
            Step::new("pip3")
                .args(["install", "--quiet", "--no-deps", "--disable-pip-version-check", "--target"])
                .args([&folder])
                .args([format!("ziglang=={ZIG_VERSION}")])
                .run()?;
            ensure!(program.exists(), "the package brought no {}", program.display());
        }
        let zig = Self { folder };
        fs::create_dir_all(zig.sdk()).context("creating an empty SDK folder")?;
        // Options that cargo's C builds give to Apple's compiler and that zig takes in its own form.
        zig.wrapper(
            "cc",
            "for word do shift; case \"$word\" in --target=*|-mmacosx-version-min=*|-arch|arm64) ;; \
             *) set -- \"$@\" \"$word\" ;; esac; done\nexec \"$ZIG\" cc -target aarch64-macos.11.0 \"$@\"",
        )?;
        zig.wrapper("ar", "exec \"$ZIG\" ar \"$@\"")?;
        Ok(zig)
    }

    fn wrapper(&self, name: &str, body: &str) -> anyhow::Result<()> {
        let path = self.folder.join(name);
        let zig = self.folder.join("ziglang/zig");
        fs::write(&path, format!("#!/bin/sh\nZIG='{}'\n{body}\n", zig.display()))?;
        Step::new("chmod").args(["755".as_ref(), path.as_os_str()]).run()
    }

    fn sdk(&self) -> PathBuf {
        self.folder.join("no-sdk")
    }

    fn compiles_c(&self, step: Step) -> Step {
        step.env("CC_aarch64_apple_darwin", self.folder.join("cc"))
            .env("AR_aarch64_apple_darwin", self.folder.join("ar"))
            .env("SDKROOT", self.sdk())
            .env("ZIG_GLOBAL_CACHE_DIR", self.folder.join("zig-cache"))
    }
}
