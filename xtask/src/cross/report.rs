//! What was done, what failed and what could not be done.

use std::time::{Duration, Instant};

/// How one piece of work ended.
pub(super) enum Outcome {
    /// With what is worth saying about it, such as a number of tests.
    Passed(String),
    Failed(String),
    NotRun(String),
}

#[derive(Default)]
pub(super) struct Report(Vec<Row>);

struct Row {
    what: String,
    outcome: Outcome,
    took: Duration,
}

impl Report {
    /// Does a piece of work under a heading. An error is a failure of that piece alone: the others still run.
    pub(super) fn piece(&mut self, what: impl Into<String>, work: impl FnOnce() -> anyhow::Result<Outcome>) {
        let what = what.into();
        println!("\n== {what}");
        let begun = Instant::now();
        let outcome = work().unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")));
        self.0.push(Row { what, outcome, took: begun.elapsed() });
    }

    /// Names of what could not be done here.
    pub(super) fn not_run(&self) -> Vec<&str> {
        self.those(|outcome| matches!(outcome, Outcome::NotRun(_)))
    }

    /// Names of what went wrong.
    pub(super) fn failed(&self) -> Vec<&str> {
        self.those(|outcome| matches!(outcome, Outcome::Failed(_)))
    }

    fn those(&self, wanted: impl Fn(&Outcome) -> bool) -> Vec<&str> {
        self.0.iter().filter(|row| wanted(&row.outcome)).map(|row| row.what.as_str()).collect()
    }

    pub(super) fn print(&self) {
        let width = self.0.iter().map(|row| row.what.len()).max().unwrap_or_default();
        println!();
        for Row { what, outcome, took } in &self.0 {
            let outcome = match outcome {
                Outcome::Passed(remark) if remark.is_empty() => "ok".to_owned(),
                Outcome::Passed(remark) => format!("ok: {remark}"),
                Outcome::Failed(why) => format!("FAILED: {why}"),
                Outcome::NotRun(why) => format!("NOT RUN: {why}"),
            };
            println!("{what:<width$}  {:>4} s  {outcome}", took.as_secs());
        }
    }
}
