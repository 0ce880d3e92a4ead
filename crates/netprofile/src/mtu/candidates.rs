//! The sizes that are tried.

use crate::defaults::{LARGEST_PATH_MTU, PROBES_PER_ROUND, SMALLEST_IPV4_PATH_MTU};
use crate::overhead::{Encapsulation, Family, IPV6_MIN_MTU};

/// Path MTUs that are met in the field, largest first. Between two neighbours one more round finds the exact byte.
///
/// 1500 Ethernet; 1492 PPPoE; 1480 IP-in-IP and 6in4; 1476 GRE; 1460 common cloud networks; 1450 VXLAN; 1420 and 1440
/// WireGuard around us; 1400, 1380 and 1360 mobile networks; 1280 the IPv6 minimum; 1124 and its neighbours a hotel's
/// tunnel in a tunnel; 576 dial-up folklore, and the marker that shows that anything answers at all.
const COMMON: [u16; 20] = [
    1500, 1492, 1480, 1476, 1460, 1450, 1440, 1420, 1400, 1380, 1360, 1340, 1320, 1300, 1280, 1240, 1200,
    1124, 1024, 576,
];

/// The outer sizes that a suite can produce: padding makes them advance in steps of the cipher's alignment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    encapsulation: Encapsulation,
}

impl Grid {
    pub(super) fn new(encapsulation: Encapsulation) -> Self {
        Self { encapsulation }
    }

    /// The largest size that can be produced and is at most `size`.
    pub(super) fn floor(self, size: u16) -> u16 {
        let inner = usize::from(self.encapsulation.inner_mtu(size));
        u16::try_from(self.encapsulation.outer_len(inner)).unwrap_or(size).min(size)
    }

    /// The smallest size above `size` that can be produced.
    pub(super) fn next(self, size: u16) -> u16 {
        let inner = usize::from(self.encapsulation.inner_mtu(size));
        u16::try_from(self.encapsulation.outer_len(inner + 1)).unwrap_or(u16::MAX)
    }

    /// The least size that this outer family is ever taken down to.
    pub(super) fn least(self) -> u16 {
        self.floor(match self.encapsulation.family {
            Family::V4 => SMALLEST_IPV4_PATH_MTU,
            Family::V6 => IPV6_MIN_MTU,
        })
    }

    /// The largest size to try behind a link of `link_mtu` bytes. Never below [`least`](Self::least): a link that says
    /// otherwise is not believed.
    pub(super) fn ceiling(self, link_mtu: u16) -> u16 {
        self.floor(link_mtu.min(LARGEST_PATH_MTU)).max(self.least())
    }

    /// The common sizes from `least` to `ceiling`, both included, smallest first.
    pub(super) fn common(self, ceiling: u16) -> Vec<u16> {
        let least = self.least();
        let mut sizes: Vec<u16> = COMMON
            .iter()
            .map(|&size| self.floor(size))
            .filter(|&size| size >= least && size <= ceiling)
            .chain([least, ceiling])
            .collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    /// What to try between a size that is known to fit and one that is suspected not to: every size where a round
    /// holds them all, otherwise the common ones, otherwise an even spread.
    pub(super) fn between(self, fits: u16, suspect: u16) -> Vec<u16> {
        // Room for the suspect, its neighbour and the marker.
        let most = PROBES_PER_ROUND - 3;
        let every: Vec<u16> = std::iter::successors(Some(self.next(fits)), |&size| Some(self.next(size)))
            .take_while(|&size| size < suspect)
            .collect();
        if every.len() <= most {
            return every;
        }
        let common: Vec<u16> =
            self.common(suspect).into_iter().filter(|&size| size > fits && size < suspect).collect();
        if !common.is_empty() {
            return common;
        }
        every.iter().copied().step_by(every.len().div_ceil(most)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overhead::EspShape;

    const GCM: Grid = Grid { encapsulation: Encapsulation { family: Family::V4, esp: EspShape::AEAD } };

    #[test]
    fn every_path_that_is_named_in_the_field_is_hit_exactly() {
        for mtu in [1500, 1492, 1420, 1400, 1380, 1300, 1280, 1124] {
            assert!(GCM.common(1500).contains(&mtu), "{mtu}");
        }
    }

    #[test]
    fn a_first_round_fits_into_its_bounds_for_every_suite_and_link() {
        for family in [Family::V4, Family::V6] {
            for esp in [EspShape::AEAD, EspShape::aes_cbc(12), EspShape::aes_cbc(32)] {
                let grid = Grid::new(Encapsulation { family, esp });
                for link in [0, 68, 576, 1280, 1281, 1400, 1499, 1500, 9000, u16::MAX] {
                    let sizes = grid.common(grid.ceiling(link));
                    assert!(!sizes.is_empty() && sizes.len() + 2 <= PROBES_PER_ROUND, "{family:?} {link}");
                    assert!(sizes.iter().all(|&size| grid.floor(size) == size));
                }
            }
        }
    }

    #[test]
    fn between_two_common_sizes_every_size_is_tried_except_in_the_widest_gap() {
        for pair in GCM.common(1500).windows(2) {
            let between = GCM.between(pair[0], pair[1]);
            let all = usize::from((pair[1] - pair[0]) / 4).saturating_sub(1);
            assert!(between.len() == all || pair[0] == 576, "{pair:?} {between:?}");
            assert!(between.len() + 3 <= PROBES_PER_ROUND);
        }
    }
}
