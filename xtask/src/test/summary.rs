//! Reading how many tests ran from what the runners print.

/// Numbers of tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    closing: Closing,
    /// Harnesses that have begun and not closed: a lab test runs its own harness once more, inside its sandbox.
    open: u32,
    pub(crate) passed: u32,
    pub(crate) failed: u32,
}

/// Whose closing lines count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closing {
    /// cargo-nextest's, one a run. It shows what failed tests printed, which may hold closing lines of theirs.
    Nextest,
    /// Those of libtest harnesses, one a test binary.
    Libtest,
}

impl Tally {
    /// For what cargo-nextest prints.
    pub(crate) fn of_nextest() -> Self {
        Self { closing: Closing::Nextest, open: 0, passed: 0, failed: 0 }
    }

    /// For what `cargo test` prints.
    pub(crate) fn of_libtest() -> Self {
        Self { closing: Closing::Libtest, open: 0, passed: 0, failed: 0 }
    }

    /// Adds what a line says, if it is a closing line.
    ///
    /// ```text
    ///      Summary [   1.2s] 7 tests run: 6 passed (1 slow), 1 failed, 2 skipped
    /// test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
    /// ```
    pub(crate) fn read(&mut self, line: &str) {
        let line = without_colour(line);
        let closes = match self.closing {
            // What a test printed is indented further.
            Closing::Nextest => line.starts_with("     Summary [") && line.contains(" run: "),
            Closing::Libtest => self.closes_harness(&line),
        };
        if closes {
            self.passed += number_before(&line, " passed");
            let failures = [" failed", " exec failed", " timed out"];
            self.failed += failures.map(|word| number_before(&line, word)).iter().sum::<u32>();
        }
    }

    /// Whether this closes a harness that cargo has started, not one inside it.
    fn closes_harness(&mut self, line: &str) -> bool {
        if line.starts_with("     Running ") || line.starts_with("   Doc-tests ") {
            self.open = 0;
        } else if line.starts_with("running ") && (line.ends_with(" test") || line.ends_with(" tests")) {
            self.open += 1;
        } else if line.starts_with("test result: ") {
            self.open = self.open.saturating_sub(1);
            return self.open == 0;
        }
        false
    }
}

/// The number that stands right before `word`, or none: 0.
fn number_before(line: &str, word: &str) -> u32 {
    let Some((before, _)) = line.split_once(word) else { return 0 };
    let digits = before.rsplit(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().unwrap_or(0)
}

/// The line without ANSI colour sequences (`ESC [ ... m`).
fn without_colour(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = after.split_once('m').map_or("", |(_, after)| after);
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(mut tally: Tally, lines: &[&str]) -> (u32, u32) {
        lines.iter().for_each(|line| tally.read(line));
        (tally.passed, tally.failed)
    }

    #[test]
    fn a_summary_of_nextest_is_read() {
        let line = "     Summary [   1.200s] 8 tests run: 4 passed (1 slow), 2 failed, 1 exec failed, 1 timed out, 2 skipped";
        assert_eq!(counts(Tally::of_nextest(), &[line]), (4, 4));
    }

    #[test]
    fn closing_lines_that_failed_tests_print_are_not_the_runner_s() {
        let lines = [
            "  stdout ───",
            "    test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 1 filtered out",
            "test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 1 filtered out",
            "         Summary [   0.1s] 1 test run: 0 passed, 1 failed, 0 skipped",
            "     Summary [  92.569s] 5 tests run: 4 passed, 1 failed, 0 skipped",
            "    test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 1 filtered out",
        ];
        assert_eq!(counts(Tally::of_nextest(), &lines), (4, 1));
    }

    #[test]
    fn summaries_of_several_test_binaries_add_up() {
        let ok =
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        let bad = "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(counts(Tally::of_libtest(), &[ok, "test a ... ok", bad]), (4, 2));
    }

    #[test]
    fn a_harness_inside_a_test_is_not_counted_again() {
        let bad = "test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 1 filtered out";
        let all = "test result: FAILED. 4 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out";
        let binary = ["     Running tests/a.rs (a)", "running 5 tests", "running 1 test", bad, all];
        assert_eq!(counts(Tally::of_libtest(), &[binary, binary].concat()), (8, 2));
        // One that was killed says nothing; the next binary is counted all the same.
        let killed = ["     Running tests/a.rs (a)", "running 5 tests", "running 1 test", all];
        assert_eq!(counts(Tally::of_libtest(), &[&killed[..], &binary].concat()), (4, 1));
    }

    #[test]
    fn colours_do_not_hide_a_summary() {
        let line = "\u{1b}[32;1m     Summary\u{1b}[0m [   0.1s] \u{1b}[1m2\u{1b}[0m tests run: \u{1b}[1m2\u{1b}[0m passed, 0 skipped";
        assert_eq!(counts(Tally::of_nextest(), &[line]), (2, 0));
    }
}
