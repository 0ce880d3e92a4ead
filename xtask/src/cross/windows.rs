//! Windows, from here: clippy over everything, and tests under Wine.

use std::path::PathBuf;

use anyhow::Context;
use serde_json::Value;

use super::{
    report::{Outcome, Report},
    toolchain::{Library, Toolchain},
    wine::Prefix,
};
use crate::packages::{self, Need, What};

const TARGET: &str = "x86_64-pc-windows-gnu";

const NEEDS: &[Need] = &[Need {
    what: What::Program("x86_64-w64-mingw32-gcc"),
    packages: &["gcc-mingw-w64-x86-64"],
    why: "a linker and a C compiler for Windows",
}];

/// Tests that need nothing of Linux. Of `platform` those parts that are real on Windows and that Wine has.
const SUITES: &[Suite] = &[
    Suite { package: "evenkeel-ipsec", only: &[], skip: &[] },
    Suite { package: "evenkeel-netprofile", only: &[], skip: &[] },
    Suite { package: "evenkeel-profile", only: &[], skip: &[] },
    Suite { package: "evenkeel-tunnel", only: &[], skip: &[] },
    Suite { package: "evenkeel-ipc", only: &[], skip: &[] },
    Suite {
        package: "evenkeel-platform",
        only: &["ipc_transport::", "credentials::", "dirs::", "user::"],
        skip: &[Skip {
            test: "a_second_listener_on_one_endpoint_is_refused",
            why: "Wine 8 has no FILE_FLAG_FIRST_PIPE_INSTANCE",
        }],
    },
];

pub(super) struct Suite {
    package: &'static str,
    /// Only tests with one of these in their names; all if there is none.
    only: &'static [&'static str],
    skip: &'static [Skip],
}

struct Skip {
    test: &'static str,
    why: &'static str,
}

pub(super) fn run(report: &mut Report) {
    let mut ready = Err("nothing was built".to_owned());
    report.piece("Windows: toolchain", || {
        let prepared = packages::ensure(NEEDS).and_then(|()| Toolchain::prepare(TARGET, Library::Linked));
        ready = prepared.map_err(|error| format!("{error:#}"));
        Ok(match &ready {
            Ok(_) => Outcome::Passed(String::new()),
            Err(why) => Outcome::NotRun(why.clone()),
        })
    });
    let Ok(toolchain) = ready else { return };
    report.piece("Windows: clippy", || clippy(&toolchain));

    let mut prefix = None;
    report.piece("Wine: prefix", || {
        let made = Prefix::prepare();
        Ok(match made {
            Ok(made) => {
                prefix = Some(made);
                Outcome::Passed(String::new())
            }
            Err(error) => Outcome::NotRun(format!("{error:#}")),
        })
    });
    let Some(prefix) = prefix else { return };
    let mut programs = Vec::new();
    report.piece("Windows: test programs", || {
        programs = build(&toolchain)?;
        Ok(Outcome::Passed(format!("{} built", programs.len())))
    });
    for suite in SUITES {
        let of_suite: Vec<_> = programs.iter().filter(|program| program.package == suite.package).collect();
        if !of_suite.is_empty() {
            report.piece(format!("Wine: tests of {}", suite.package), || test(&prefix, suite, &of_suite));
        }
        for skip in suite.skip {
            report.piece(format!("Wine: {}", skip.test), || Ok(Outcome::NotRun(skip.why.to_owned())));
        }
    }
}

fn clippy(toolchain: &Toolchain) -> anyhow::Result<Outcome> {
    toolchain
        .cargo("clippy")
        .args(["--workspace", "--keep-going", "--all-targets", "--all-features"])
        .args(["--", "-D", "warnings"])
        .run()?;
    Ok(Outcome::Passed(String::new()))
}

/// A test program that cargo built, and the folder that its tests expect to run in.
struct Program {
    package: String,
    name: String,
    path: PathBuf,
    folder: PathBuf,
}

fn build(toolchain: &Toolchain) -> anyhow::Result<Vec<Program>> {
    let mut packages = Vec::new();
    for suite in SUITES {
        packages.extend(["--package", suite.package]);
    }
    let messages = toolchain
        .cargo("test")
        .args(["--no-run", "--lib", "--tests", "--all-features", "--message-format", "json"])
        .args(packages)
        .output()?;
    let mut programs = Vec::new();
    for line in messages.lines() {
        let message: Value = serde_json::from_str(line).context("cargo's messages")?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let Some(path) = text(&message["executable"]) else { continue };
        let manifest = text(&message["manifest_path"]).context("an artifact has a manifest")?;
        let folder = PathBuf::from(manifest).parent().context("a manifest has a folder")?.to_owned();
        // "path+file:///.../crates/ipsec#evenkeel-ipsec@0.1.0"
        let id = text(&message["package_id"]).context("an artifact has a package")?;
        let package = id.rsplit(['#', '/']).next().unwrap_or_default();
        let package = package.split('@').next().unwrap_or_default().to_owned();
        let name = text(&message["target"]["name"]).unwrap_or_default();
        programs.push(Program { package, name, path: path.into(), folder });
    }
    Ok(programs)
}

fn test(prefix: &Prefix, suite: &Suite, programs: &[&Program]) -> anyhow::Result<Outcome> {
    let (mut passed, mut wrong) = (0, Vec::new());
    for program in programs {
        let skips = suite.skip.iter().flat_map(|skip| ["--skip", skip.test]);
        let arguments: Vec<_> = suite.only.iter().copied().chain(skips).collect();
        let ran = prefix.test(&program.path, &program.folder, &arguments)?;
        passed += ran.tally.passed;
        if let Some(why) = ran.wrong {
            wrong.push(format!("{}: {why}", program.name));
        }
    }
    if !wrong.is_empty() {
        return Ok(Outcome::Failed(wrong.join("; ")));
    }
    if passed == 0 {
        return Ok(Outcome::Failed("no test ran".to_owned()));
    }
    Ok(Outcome::Passed(format!("{passed} tests")))
}
