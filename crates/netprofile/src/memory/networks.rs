//! All remembered networks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Fingerprint, Label, NetworkProfile};
use crate::defaults;
use crate::time::UnixSeconds;

/// The version of the JSON that is written, and the only one that is read.
const VERSION: u64 = 1;

/// One remembered network.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Network {
    /// What to call it.
    pub label: Label,
    /// When we were last there.
    pub last_seen: UnixSeconds,
    /// What was learned.
    pub profile: NetworkProfile,
}

/// Profiles by fingerprint, at most 128: past that the network that was not visited for the longest time is forgotten.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Networks {
    networks: BTreeMap<Fingerprint, Network>,
}

/// An entry of a file that was not taken over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dropped {
    /// Its key, made harmless.
    pub key: Label,
    /// Why.
    pub why: WhyDropped,
}

/// Why an entry was not taken over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WhyDropped {
    /// Its key is no fingerprint.
    NotAFingerprint,
    /// A field is missing, of the wrong type or of an unknown kind.
    Malformed,
    /// A value could not have been learned.
    Implausible,
    /// There were more entries than are kept; this one was among the oldest.
    TooMany,
}

/// Why a whole file was not read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LoadError {
    /// Larger than anything that is written.
    #[error("the remembered networks take {0} bytes, more than are ever written")]
    TooLarge(usize),
    /// No JSON, or not of the expected outline.
    #[error("the remembered networks are not readable")]
    Malformed,
    /// Written by another version.
    #[error("the remembered networks are of version {0}, which is unknown here")]
    UnknownVersion(u64),
}

#[derive(Serialize)]
struct Written<'a> {
    version: u64,
    networks: &'a BTreeMap<Fingerprint, Network>,
}

impl Networks {
    /// We are on this network: what is known of it, aged, or a fresh profile. Marks it as seen.
    pub fn visit(&mut self, fingerprint: Fingerprint, label: Label, now: UnixSeconds) -> &mut NetworkProfile {
        if !self.networks.contains_key(&fingerprint) && self.networks.len() >= defaults::REMEMBERED_NETWORKS {
            let oldest = self.networks.iter().min_by_key(|(_, network)| network.last_seen);
            if let Some(oldest) = oldest.map(|(&fingerprint, _)| fingerprint) {
                self.networks.remove(&oldest);
            }
        }
        let network = self.networks.entry(fingerprint).or_insert_with(|| Network {
            label: label.clone(),
            last_seen: now,
            profile: NetworkProfile::default(),
        });
        network.label = label;
        network.last_seen = now;
        network.profile.age(now);
        &mut network.profile
    }

    /// The networks, the last visited first.
    #[must_use]
    pub fn list(&self) -> Vec<(Fingerprint, &Network)> {
        let mut all: Vec<_> =
            self.networks.iter().map(|(&fingerprint, network)| (fingerprint, network)).collect();
        all.sort_by_key(|(_, network)| std::cmp::Reverse(network.last_seen));
        all
    }

    /// One network.
    #[must_use]
    pub fn show(&self, fingerprint: Fingerprint) -> Option<&Network> {
        self.networks.get(&fingerprint)
    }

    /// Forgets one network; whether it was known.
    pub fn forget(&mut self, fingerprint: Fingerprint) -> bool {
        self.networks.remove(&fingerprint).is_some()
    }

    /// Forgets all networks.
    pub fn forget_all(&mut self) {
        self.networks.clear();
    }

    /// The JSON to store: an object with `version` and `networks`, the latter by fingerprint.
    #[must_use]
    pub fn to_json(&self) -> String {
        let written = Written { version: VERSION, networks: &self.networks };
        // Strings and numbers in maps with string keys always encode.
        serde_json::to_string_pretty(&written).unwrap_or_default()
    }

    /// Reads what [`to_json`](Self::to_json) wrote, from a source that is not trusted. Entries that can't be are left
    /// out and returned beside the rest; the rest is aged to `now`.
    ///
    /// # Errors
    ///
    /// When nothing of it can be used.
    pub fn from_json(json: &[u8], now: UnixSeconds) -> Result<(Self, Vec<Dropped>), LoadError> {
        if json.len() > defaults::REMEMBERED_BYTES {
            return Err(LoadError::TooLarge(json.len()));
        }
        let mut root: serde_json::Value = serde_json::from_slice(json).map_err(|_| LoadError::Malformed)?;
        match root.get("version").and_then(serde_json::Value::as_u64) {
            Some(VERSION) => {}
            Some(version) => return Err(LoadError::UnknownVersion(version)),
            None => return Err(LoadError::Malformed),
        }
        let entries = match root.get_mut("networks").map(serde_json::Value::take) {
            Some(serde_json::Value::Object(entries)) => entries,
            _ => return Err(LoadError::Malformed),
        };
        let (mut read, mut dropped) = (Vec::new(), Vec::new());
        for (key, value) in entries {
            match read_entry(&key, value, now) {
                Ok(entry) => read.push(entry),
                Err(why) => dropped.push(Dropped { key: Label::from(key), why }),
            }
        }
        read.sort_by_key(|(_, network)| std::cmp::Reverse(network.last_seen));
        for (fingerprint, _) in read.split_off(read.len().min(defaults::REMEMBERED_NETWORKS)) {
            dropped.push(Dropped { key: Label::from(fingerprint.to_string()), why: WhyDropped::TooMany });
        }
        Ok((Self { networks: read.into_iter().collect() }, dropped))
    }
}

fn read_entry(
    key: &str,
    value: serde_json::Value,
    now: UnixSeconds,
) -> Result<(Fingerprint, Network), WhyDropped> {
    let fingerprint = key.parse().map_err(|_| WhyDropped::NotAFingerprint)?;
    let mut network: Network = serde_json::from_value(value).map_err(|_| WhyDropped::Malformed)?;
    if !network.profile.is_plausible() {
        return Err(WhyDropped::Implausible);
    }
    network.last_seen = network.last_seen.min(now);
    network.profile.age(now);
    Ok((fingerprint, network))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keepalive::{Confidence, Method};
    use crate::ladder::{How, LastGood, Measured, Transport, Verdict, Verdicts};
    use crate::memory::{ConnectTime, ConnectTimes, LearnedLifetime, LearnedMtu, NatPresence};
    use crate::overhead::Family;

    const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

    fn fingerprint(number: u64) -> Fingerprint {
        format!("{number:016x}").parse().unwrap()
    }

    fn label(text: &str) -> Label {
        Label::from(text.to_owned())
    }

    /// A profile with every field in use.
    fn full() -> NetworkProfile {
        let measured =
            Some(Measured { verdict: Verdict::Blocked, at: NOW, how: How::SilentWhileOthersAnswered });
        let mut profile = NetworkProfile {
            nat: Some(NatPresence { present: true, at: NOW }),
            ports: Some(crate::keepalive::PortAssignment::Preserving),
            lifetime: Some(LearnedLifetime {
                lower_ms: Some(283_333),
                upper_ms: Some(300_000),
                confidence: Confidence::High,
                method: Method::InboundAfterSilence,
                at: NOW,
            }),
            uplink: Some(LearnedMtu { size: 1400, at: NOW }),
            downlink: Some(LearnedMtu { size: 1400, at: NOW }),
            verdicts: Verdicts {
                udp500: measured,
                udp4500: measured,
                esp_in_udp: measured,
                tcp4500: measured,
                tcp443: measured,
                tls443: measured,
                wireguard: measured,
            },
            portal_seen: Some(NOW),
            last_good: Some(LastGood { transport: Transport::WireGuard, family: Family::V6, at: NOW }),
            ..NetworkProfile::default()
        };
        for _ in 0..16 {
            profile.connect_times.record(ConnectTime {
                at: NOW,
                took_ms: u32::MAX,
                transport: Transport::WireGuard,
            });
        }
        profile
    }

    #[test]
    fn everything_comes_back_as_it_was_stored_and_a_full_memory_fits_the_bound() {
        let mut networks = Networks::default();
        for number in 0..128 {
            *networks.visit(fingerprint(number), label(&"\u{fffd}".repeat(64)), NOW) = full();
        }
        let json = networks.to_json();
        assert!(json.len() < defaults::REMEMBERED_BYTES, "{} bytes", json.len());
        assert_eq!(Networks::from_json(json.as_bytes(), NOW), Ok((networks, Vec::new())));
    }

    #[test]
    fn past_the_bound_the_network_not_seen_for_longest_is_forgotten() {
        let mut networks = Networks::default();
        for number in 0..128 {
            networks.visit(fingerprint(number), label("n"), UnixSeconds(NOW.0 + number));
        }
        networks.visit(fingerprint(0), label("n"), UnixSeconds(NOW.0 + 500));
        networks.visit(fingerprint(999), label("new"), UnixSeconds(NOW.0 + 501));
        assert_eq!(networks.list().len(), 128);
        assert!(networks.show(fingerprint(0)).is_some());
        assert!(networks.show(fingerprint(1)).is_none());
        assert_eq!(networks.list()[0].1.label.as_str(), "new");
        assert!(networks.forget(fingerprint(999)));
        assert!(!networks.forget(fingerprint(999)));
        networks.forget_all();
        assert!(networks.list().is_empty());
    }

    #[test]
    fn a_broken_entry_is_dropped_alone() {
        let mut networks = Networks::default();
        for number in 0..5 {
            *networks.visit(fingerprint(number), label("n"), NOW) = full();
        }
        let mut json: serde_json::Value = serde_json::from_str(&networks.to_json()).unwrap();
        let entries = json["networks"].as_object_mut().unwrap();
        entries["0000000000000000"]["profile"]["uplink"]["size"] = 65_535.into();
        entries["0000000000000001"]["profile"]["lifetime"]["lower_ms"] = 4_000_000.into();
        entries["0000000000000002"]["profile"]["verdicts"]["udp500"]["verdict"] = "maybe".into();
        entries["0000000000000003"] = serde_json::json!([1, 2, 3]);
        entries.insert("../../etc/passwd\u{1b}".to_owned(), serde_json::json!({}));
        let (read, dropped) = Networks::from_json(json.to_string().as_bytes(), NOW).unwrap();
        assert_eq!(read.list().len(), 1);
        assert!(read.show(fingerprint(4)).is_some());
        let whys: Vec<WhyDropped> = dropped.iter().map(|dropped| dropped.why).collect();
        assert_eq!(
            whys,
            [
                WhyDropped::NotAFingerprint,
                WhyDropped::Implausible,
                WhyDropped::Implausible,
                WhyDropped::Malformed,
                WhyDropped::Malformed
            ]
        );
        assert_eq!(dropped[0].key.as_str(), "../../etc/passwd\u{fffd}");
    }

    #[test]
    fn a_file_that_is_none_is_refused_without_harm() {
        let from = |json: &[u8]| Networks::from_json(json, NOW).map(|_| ());
        for json in ["", "{", "[]", "null", "{}", r#"{"version":1}"#, r#"{"version":"1","networks":{}}"#] {
            assert_eq!(from(json.as_bytes()), Err(LoadError::Malformed), "{json}");
        }
        assert_eq!(from(br#"{"version":2,"networks":{}}"#), Err(LoadError::UnknownVersion(2)));
        assert_eq!(from(br#"{"version":1,"networks":{}}"#), Ok(()));
        assert_eq!(from(&[0xff; 64]), Err(LoadError::Malformed));
        assert_eq!(from(&vec![b' '; 10_000_000]), Err(LoadError::TooLarge(10_000_000)));
        let deep = format!("{}{}", r#"{"version":1,"networks":"#, "[".repeat(100_000));
        assert_eq!(from(deep.as_bytes()), Err(LoadError::Malformed));
    }

    #[test]
    fn a_file_that_is_cut_or_altered_anywhere_never_panics() {
        let mut networks = Networks::default();
        *networks.visit(fingerprint(1), label("n"), NOW) =
            NetworkProfile { connect_times: ConnectTimes::default(), ..full() };
        let json = networks.to_json().into_bytes();
        for at in 0..json.len() {
            let _ = Networks::from_json(&json[..at], NOW);
            for byte in [b'9', b'-', b'"', 0xff] {
                let mut altered = json.clone();
                altered[at] = byte;
                if let Ok((read, _)) = Networks::from_json(&altered, NOW) {
                    assert!(read.list().iter().all(|(_, network)| network.profile.is_plausible()));
                }
            }
        }
    }

    #[test]
    fn more_entries_than_are_kept_leave_the_newest() {
        let entry = |at: u64| serde_json::json!({"label": "n", "last_seen": at, "profile": {}});
        let entries: serde_json::Map<String, serde_json::Value> =
            (0..200).map(|number| (format!("{number:016x}"), entry(number))).collect();
        let json = serde_json::json!({"version": 1, "networks": entries}).to_string();
        let (read, dropped) = Networks::from_json(json.as_bytes(), NOW).unwrap();
        assert_eq!(read.list().len(), 128);
        assert_eq!(read.list()[0].1.last_seen, UnixSeconds(199));
        assert!(dropped.iter().all(|dropped| dropped.why == WhyDropped::TooMany));
        assert_eq!(dropped.len(), 72);
    }
}
