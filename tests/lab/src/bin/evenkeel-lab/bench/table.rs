//! The table of what was measured, each figure beside its goal.

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

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn an_even_number_of_figures_does_not_favour_the_larger() {
        assert_eq!(median(vec![3.0, 1.0]), 2.0);
        assert_eq!(median(vec![5.0, 1.0, 3.0]), 3.0);
        assert!(median(Vec::new()).is_nan());
    }
}
