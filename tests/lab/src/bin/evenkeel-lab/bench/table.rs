//! The table of what was measured, each figure beside its goal.

use std::time::Duration;

/// One figure.
pub(super) struct Row {
    what: String,
    ours: String,
    beside: String,
    ratio: String,
    goal: &'static str,
    met: Option<bool>,
}

impl Row {
    /// A figure of ours.
    pub(super) fn new(what: impl Into<String>, ours: impl Into<String>) -> Self {
        let none = || "-".to_owned();
        Self { what: what.into(), ours: ours.into(), beside: none(), ratio: none(), goal: "-", met: None }
    }

    /// A figure that there is not.
    pub(super) fn not_run(what: impl Into<String>) -> Self {
        Self::new(what, "NOT RUN")
    }

    /// The median of how long something took.
    pub(super) fn time(what: impl Into<String>, times: &[Duration]) -> Self {
        Self::new(what, duration(middle(times)))
    }

    /// [`time`](Self::time) with a limit, and its words.
    pub(super) fn time_within(
        what: impl Into<String>,
        times: &[Duration],
        goal: &'static str,
        limit: Duration,
    ) -> Self {
        Self::time(what, times).goal(goal, middle(times) < limit)
    }

    /// What it stands beside.
    pub(super) fn beside(mut self, peer: impl Into<String>) -> Self {
        self.beside = peer.into();
        self
    }

    /// What we have over what the peer has.
    pub(super) fn ratio(mut self, ratio: f64) -> Self {
        self.ratio = format!("{ratio:.2}");
        self
    }

    /// What was wanted, and whether it was reached.
    pub(super) fn goal(mut self, goal: &'static str, met: bool) -> Self {
        self.goal = goal;
        self.met = Some(met);
        self
    }

    fn cells(&self) -> [&str; 6] {
        let met = match self.met {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "-",
        };
        [&self.what, &self.ours, &self.beside, &self.ratio, self.goal, met]
    }
}

/// Prints the rows, each column as wide as its widest cell; the first is a name, the others are figures.
pub(super) fn print(rows: &[Row]) {
    let heading = ["", "ours", "beside", "ratio", "goal", "met"];
    let rows: Vec<[&str; 6]> = std::iter::once(heading).chain(rows.iter().map(Row::cells)).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    println!();
    for row in &rows {
        let cells = row.iter().enumerate().map(|(column, cell)| match column {
            0 => format!("{cell:<0$}", width(column)),
            _ => format!("{cell:>0$}", width(column)),
        });
        println!("  {}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

/// The middle one of some figures, or the mean of the two in the middle; not a number without any.
pub(super) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    let (lower, upper) = (figures.len().saturating_sub(1) / 2, figures.len() / 2);
    let at = |index: usize| figures.get(index).copied().unwrap_or(f64::NAN);
    f64::midpoint(at(lower), at(upper))
}

/// The median of some times; none: the longest there is, which is below no limit.
pub(super) fn middle(times: &[Duration]) -> Duration {
    let seconds = median(times.iter().map(Duration::as_secs_f64).collect());
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

/// A time for people: milliseconds below a second.
pub(super) fn duration(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{:.0} ms", time.as_secs_f64() * 1e3)
    } else {
        format!("{:.2} s", time.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{duration, median, middle};

    #[test]
    fn an_even_number_of_figures_does_not_favour_the_larger() {
        assert_eq!(median(vec![3.0, 1.0]), 2.0);
        assert_eq!(median(vec![5.0, 1.0, 3.0]), 3.0);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn times_have_a_median_that_meets_no_goal_if_there_is_none() {
        let times = [3, 1, 2000].map(Duration::from_millis);
        assert_eq!(middle(&times), Duration::from_millis(3));
        assert_eq!(middle(&[]), Duration::MAX);
        assert_eq!((duration(times[0]), duration(times[2])), ("3 ms".to_owned(), "2.00 s".to_owned()));
    }
}
