//! The layers, and how each one's tests are told from the others'.

use std::fmt;

use super::{Runner, summary::Tally};
use crate::{packages, process::Step};

/// A layer of tests.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Layer {
    /// Tests inside modules and of single crates
    Unit,
    /// Examples in the documentation
    Doc,
    /// Whole exchanges over a simulated network with a virtual clock
    Simulation,
    /// Published test vectors and fuzz corpora
    Vectors,
    /// Namespaces, NAT and real strongSwan
    Lab,
    /// What takes an idle hour in real time; only when it is named
    Hours,
}

/// How a layer went.
pub(crate) enum Outcome {
    Ran {
        tally: Tally,
        success: bool,
    },
    NotRun {
        reason: String,
    },
    /// It is left for whoever names it.
    Left,
}

/// Tests with one of these words in the test binary's name, or as a module, are of the layer. All others are `unit`.
const SIMULATION: &str = "simulation";
const VECTORS: &str = "vectors|corpus|corpora";

/// Tests of `platform` that change routes, in namespaces of their own. They run where the lab's run.
const NAMESPACES: &str = "(package(evenkeel-platform) & binary(namespaces))";

impl Layer {
    pub(crate) const ALL: [Self; 6] =
        [Self::Unit, Self::Doc, Self::Simulation, Self::Vectors, Self::Lab, Self::Hours];

    pub(crate) fn about(self) -> &'static str {
        match self {
            Self::Unit => "tests inside modules and of single crates",
            Self::Doc => "examples in the documentation",
            Self::Simulation => "whole exchanges over a simulated network with a virtual clock",
            Self::Vectors => "published test vectors and fuzz corpora",
            Self::Lab => "namespaces, NAT and real strongSwan",
            Self::Hours => "what takes an idle hour in real time",
        }
    }

    /// Whether it runs without being named.
    pub(crate) fn runs_by_itself(self) -> bool {
        self != Self::Hours
    }

    pub(crate) fn run(self, runner: &Runner, filter: Option<&str>) -> anyhow::Result<Outcome> {
        match (self, runner) {
            (Self::Doc, _) => watch(
                Tally::of_libtest(),
                Step::cargo()
                    .args(["test", "--locked", "--workspace", "--all-features", "--doc"])
                    .args(filter),
            ),
            (Self::Lab | Self::Hours, _) => self.in_lab(runner, filter),
            (Self::Unit | Self::Simulation | Self::Vectors, Runner::Nextest(_)) => {
                watch(runner.tally(), self.with_nextest(runner, filter))
            }
            (Self::Unit, Runner::Cargo) => watch(
                runner.tally(),
                everything_else(runner).args(["--lib", "--bins", "--tests", "--"]).args(filter),
            ),
            (Self::Simulation | Self::Vectors, Runner::Cargo) => Ok(Outcome::NotRun {
                reason: "without cargo-nextest its tests are counted under unit".to_owned(),
            }),
        }
    }

    fn with_nextest(self, runner: &Runner, filter: Option<&str>) -> Step {
        // nextest refuses a pattern that matches no binary at all, so each names one that is always there.
        let of = |words: &str| {
            format!("((binary(/{words}|^xtask$/) & not package(xtask)) | test(/(^|::)({words})(::|$)/))")
        };
        let (simulation, vectors) = (of(SIMULATION), of(VECTORS));
        let expression = match self {
            Self::Simulation => simulation,
            Self::Vectors => vectors,
            Self::Unit | Self::Doc | Self::Lab | Self::Hours => {
                format!("not ({simulation} | {vectors} | {NAMESPACES})")
            }
        };
        everything_else(runner).args(["-E", &expression, "--no-fail-fast"]).args(filter)
    }

    /// The lab's tests drive the real programs, so those are built first; and they say themselves whether they can run here.
    fn in_lab(self, runner: &Runner, filter: Option<&str>) -> anyhow::Result<Outcome> {
        let needs = packages::ensure(packages::NETWORK).and_then(|()| packages::ensure(packages::PEERS));
        if let Err(error) = needs {
            return Ok(Outcome::NotRun { reason: format!("{error:#}") });
        }
        Step::cargo().args(["build", "--locked", "--bins", "--workspace", "--exclude", "xtask"]).run()?;
        let program = crate::workspace::target_dir().join("debug/evenkeel-lab");
        let check =
            std::process::Command::new(&program).arg("check").stdin(std::process::Stdio::null()).output()?;
        if !check.status.success() {
            return Ok(Outcome::NotRun { reason: String::from_utf8_lossy(&check.stderr).trim().to_owned() });
        }
        let step = runner.step().args(["--package", "evenkeel-lab"]);
        let step = match (self, runner) {
            // They do nothing but wait.
            (Self::Hours, Runner::Nextest(_)) => {
                step.args(["--run-ignored", "only", "--no-fail-fast", "--test-threads", "20"])
            }
            (Self::Hours, Runner::Cargo) => step.args(["--", "--ignored", "--test-threads", "20"]),
            (_, Runner::Nextest(_)) => {
                let expression = format!("package(evenkeel-lab) | {NAMESPACES}");
                // They wait more than they work.
                let threads = (2 * std::thread::available_parallelism().map_or(2, usize::from)).to_string();
                step.args(["--package", "evenkeel-platform", "-E", &expression, "--no-fail-fast"])
                    .args(["--test-threads", &threads])
            }
            (_, Runner::Cargo) => step.args(["--"]),
        };
        watch(runner.tally(), step.args(filter))
    }
}

/// The tests of every crate but the lab.
fn everything_else(runner: &Runner) -> Step {
    runner.step().args(["--workspace", "--all-features", "--exclude", "evenkeel-lab"])
}

/// Runs the tests and counts them.
fn watch(mut tally: Tally, step: Step) -> anyhow::Result<Outcome> {
    let status = step.watch(|line| tally.read(line))?;
    Ok(Outcome::Ran { tally, success: status.success() })
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unit => "unit",
            Self::Doc => "doc",
            Self::Simulation => "simulation",
            Self::Vectors => "vectors",
            Self::Lab => "lab",
            Self::Hours => "hours",
        })
    }
}
