//! The bracket between the longest silence that lived and the shortest that died.

use std::time::Duration;

use crate::defaults;

/// One side of the bracket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Edge {
    /// The silence that was asked for.
    pub(super) asked: Duration,
    /// What it says at most about the lifetime: for a death, the silence counted from the packet before it.
    pub(super) bound: Duration,
    /// How often it was seen. A death that was only inferred from the live mapping counts as never.
    pub(super) times: u8,
}

/// What a method needs before it believes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// How often the longest life must be seen.
    pub(super) lives: u8,
    /// How often each death must be seen.
    pub(super) deaths: u8,
    /// Whether one reproduced death vouches for later ones.
    pub(super) inherit: bool,
}

/// What to do next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// Try this silence.
    Try(Duration),
    /// Both sides are proven and close enough.
    Converged,
    /// The longest silence was survived and no death was ever seen.
    NoDeath,
    /// The observations contradict each other.
    Unreliable,
}

/// The observations of one method.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Bracket {
    /// The longest silence that was survived.
    pub(super) lived: Option<Edge>,
    /// The shortest that was not, seen however often.
    pub(super) died: Option<Edge>,
    /// The shortest that was not, seen often enough.
    pub(super) confirmed: Option<Edge>,
    /// A death was confirmed at some time.
    pub(super) reproduced: bool,
    contradictions: u8,
    /// Deaths that were not seen again.
    flukes: u8,
}

impl Bracket {
    /// Takes a death into account that was only inferred, unless something shorter is known already.
    pub(super) fn suspect(&mut self, silence: Duration) {
        let is_news = self.died.is_none_or(|died| silence < died.asked)
            && self.lived.is_none_or(|lived| silence > lived.asked);
        if is_news {
            self.died = Some(Edge { asked: silence, bound: silence, times: 0 });
        }
    }

    /// The mapping survived `asked`.
    pub(super) fn lives(&mut self, asked: Duration) {
        if self.confirmed.is_some_and(|confirmed| asked >= confirmed.asked) {
            self.contradictions = self.contradictions.saturating_add(1);
            self.confirmed = None;
        }
        if let Some(died) = self.died.filter(|died| asked >= died.asked) {
            self.flukes = self.flukes.saturating_add(died.times.min(1));
            self.died = self.confirmed;
        }
        match &mut self.lived {
            Some(lived) if lived.asked == asked => lived.times = lived.times.saturating_add(1),
            Some(lived) if lived.asked > asked => {}
            _ => self.lived = Some(Edge { asked, bound: asked, times: 1 }),
        }
    }

    /// The mapping did not survive `asked`, which was at most `bound`.
    pub(super) fn dies(&mut self, asked: Duration, bound: Duration, rules: Rules) {
        if self.lived.is_some_and(|lived| lived.asked >= asked) {
            self.contradictions = self.contradictions.saturating_add(1);
            self.lived = None;
        }
        match &mut self.died {
            Some(died) if died.asked == asked => {
                died.times = died.times.saturating_add(1);
                died.bound = died.bound.max(bound);
            }
            Some(died) if died.asked < asked => {}
            _ => self.died = Some(Edge { asked, bound, times: 1 }),
        }
        if self.died.is_some_and(|died| died.times >= rules.deaths) {
            self.confirmed = self.died;
            self.reproduced = true;
        }
    }

    /// Forgets deaths that a silence of `lived` on the live mapping refutes.
    pub(super) fn refute(&mut self, lived: Duration) {
        self.confirmed = self.confirmed.filter(|died| died.asked > lived);
        self.died = self.died.filter(|died| died.asked > lived).or(self.confirmed);
    }

    pub(super) fn is_contradicted(&self) -> bool {
        self.contradictions > 0
    }

    pub(super) fn next(&self, rules: Rules) -> Next {
        if self.contradictions >= defaults::CONTRADICTIONS || self.flukes >= defaults::FLUKES {
            return Next::Unreliable;
        }
        let Some(died) = self.died else {
            let longest = self.lived.map_or(Duration::ZERO, |lived| lived.asked);
            return defaults::SILENCES.into_iter().find(|&t| t > longest).map_or(Next::NoDeath, Next::Try);
        };
        let vouched = rules.inherit && self.reproduced && died.times > 0;
        if died.times < rules.deaths && !vouched {
            return Next::Try(died.asked);
        }
        match self.lived {
            Some(lived) if is_close(lived.asked, died) => {
                if lived.times >= rules.lives {
                    Next::Converged
                } else {
                    Next::Try(lived.asked)
                }
            }
            // Nothing as short as this is worth learning.
            None if died.asked <= defaults::SHORTEST_SILENCE => Next::Unreliable,
            lived => {
                let shortest = lived.map_or(defaults::SHORTEST_SILENCE, |lived| lived.asked);
                Next::Try(between(shortest, died.asked))
            }
        }
    }
}

/// Close enough that 80 % of what lived is at least 70 % of anything below what died. The second condition ends the
/// search where the round trip alone is more than that.
fn is_close(lived: Duration, died: Edge) -> bool {
    lived * 10 >= died.bound * 9 || lived * 20 >= died.asked * 19
}

/// The geometric mean: lifetimes spread over orders of magnitude.
fn between(shorter: Duration, longer: Duration) -> Duration {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(millis(shorter).saturating_mul(millis(longer)).isqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: Rules = Rules { lives: 2, deaths: 2, inherit: true };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn silences_ascend_until_one_kills_and_that_one_is_repeated() {
        let mut bracket = Bracket::default();
        for t in [30, 45, 60] {
            assert_eq!(bracket.next(HASH), Next::Try(seconds(t)));
            bracket.lives(seconds(t));
        }
        assert_eq!(bracket.next(HASH), Next::Try(seconds(90)));
        bracket.dies(seconds(90), seconds(90), HASH);
        assert_eq!(bracket.next(HASH), Next::Try(seconds(90)));
        bracket.dies(seconds(90), seconds(90), HASH);
        assert_eq!(bracket.next(HASH), Next::Try(Duration::from_millis(73_484)));
    }

    #[test]
    fn every_lifetime_is_bracketed_to_a_tenth_within_a_few_steps() {
        for lifetime in 6..300 {
            let (mut bracket, mut steps) = (Bracket::default(), 0);
            while let Next::Try(t) = bracket.next(HASH) {
                steps += 1;
                if t < seconds(lifetime) { bracket.lives(t) } else { bracket.dies(t, t, HASH) }
            }
            assert_eq!(bracket.next(HASH), Next::Converged, "{lifetime}");
            let lived = bracket.lived.unwrap().asked;
            assert!(lived < seconds(lifetime) && lived * 8 >= seconds(lifetime) * 7, "{lifetime}: {lived:?}");
            assert!(steps <= 16, "{lifetime}: {steps}");
        }
    }

    #[test]
    fn a_death_that_cannot_be_repeated_is_dropped_and_confirmed_ones_that_live_are_unreliable() {
        let mut bracket = Bracket::default();
        for t in [30, 45] {
            bracket.dies(seconds(t), seconds(t), HASH);
            bracket.lives(seconds(t));
        }
        assert_eq!(bracket.next(HASH), Next::Try(seconds(60)), "single losses happen");
        for t in [60, 90] {
            bracket.dies(seconds(t), seconds(t), HASH);
            bracket.dies(seconds(t), seconds(t), HASH);
            bracket.lives(seconds(t));
        }
        assert_eq!(bracket.next(HASH), Next::Unreliable);
    }

    #[test]
    fn a_suspicion_is_tested_first_and_dropped_without_complaint() {
        let mut bracket = Bracket::default();
        bracket.suspect(seconds(20));
        assert_eq!(bracket.next(HASH), Next::Try(seconds(20)));
        bracket.lives(seconds(20));
        assert_eq!(bracket.next(HASH), Next::Try(seconds(30)));
    }

    #[test]
    fn a_single_loss_below_a_confirmed_death_does_not_make_it_forgotten() {
        let mut bracket = Bracket::default();
        for _ in 0..2 {
            bracket.dies(seconds(30), seconds(30), HASH);
        }
        bracket.dies(seconds(12), seconds(12), HASH);
        bracket.lives(seconds(12));
        assert_eq!(bracket.died.map(|died| (died.asked, died.times)), Some((seconds(30), 2)));
    }
}
