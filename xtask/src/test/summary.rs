//! Reading how many tests ran from what the runners print.

/// Numbers of tests.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
}

impl Tally {
    /// Adds what a line says, if it is a summary line of cargo-nextest or of a libtest harness.
    ///
    /// ```text
    ///      Summary [   1.2s] 7 tests run: 6 passed (1 slow), 1 failed, 2 skipped
    /// test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
    /// ```
    pub(crate) fn read(&mut self, line: &str) {
        let line = without_colour(line);
        let line = line.trim_start();
        if !(line.starts_with("Summary [") && line.contains(" run: ") || line.starts_with("test result: ")) {
            return;
        }
        self.passed += number_before(line, " passed");
        self.failed += number_before(line, " failed") + number_before(line, " timed out");
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

    fn tally(lines: &[&str]) -> Tally {
        let mut tally = Tally::default();
        lines.iter().for_each(|line| tally.read(line));
        tally
    }

    #[test]
    fn a_summary_of_nextest_is_read() {
        let line =
            "     Summary [   1.200s] 7 tests run: 4 passed (1 slow), 2 failed, 1 timed out, 2 skipped";
        assert_eq!(tally(&[line]), Tally { passed: 4, failed: 3 });
    }

    #[test]
    fn summaries_of_several_test_binaries_add_up() {
        let ok =
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        let bad = "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(tally(&[ok, "test a ... ok", bad]), Tally { passed: 4, failed: 2 });
    }

    #[test]
    fn colours_do_not_hide_a_summary() {
        let line = "\u{1b}[32;1m     Summary\u{1b}[0m [   0.1s] \u{1b}[1m2\u{1b}[0m tests run: \u{1b}[1m2\u{1b}[0m passed, 0 skipped";
        assert_eq!(tally(&[line]), Tally { passed: 2, failed: 0 });
    }
}
