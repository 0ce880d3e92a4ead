//! Apple's words for algorithms, as proposals.
use super::Entry;
use crate::import::draft::Draft;
use crate::{ProfileError, Proposal};

/// Reads both parameter dictionaries, EnablePFS and the lifetimes.
pub(super) fn import(draft: &mut Draft, ike: &Entry<'_>) -> Result<(), ProfileError> {
    let ike_sa = ike.entry("IKESecurityAssociationParameters");
    let own = ike.entry("ChildSecurityAssociationParameters");
    // "These parameters apply to Child Security Association unless ChildSecurityAssociationParameters is specified."
    let child_sa = if own.dictionary.is_some() { own } else { ike_sa.clone() };
    if ike_sa.dictionary.is_some() {
        let parameters = Parameters::read(draft, &ike_sa)?;
        draft.ike.proposals = parameters.ike().into_iter().collect();
        draft.timers.ike_rekey_s = parameters.lifetime_s;
    }
    if ike.has("EnablePFS") {
        draft.esp.pfs = Some(ike.flag(draft, "EnablePFS")?);
    }
    if child_sa.dictionary.is_some() {
        let parameters = Parameters::read(draft, &child_sa)?;
        draft.esp.proposals = parameters.esp(draft.esp.pfs == Some(true)).into_iter().collect();
        draft.timers.child_rekey_s = parameters.lifetime_s;
    }
    Ok(())
}

/// One SA's parameters in our names; `None` where the file asks for something that isn't there.
struct Parameters {
    encryption: Option<&'static str>,
    is_aead: bool,
    /// `sha256`.
    hash: Option<&'static str>,
    group: Option<&'static str>,
    lifetime_s: Option<u32>,
}

impl Parameters {
    fn read(draft: &mut Draft, sa: &Entry<'_>) -> Result<Self, ProfileError> {
        const OWN: &str = "Evenkeel doesn't have it and offers its own algorithms instead";
        let encryption = match sa.text(draft, "EncryptionAlgorithm")?.unwrap_or("AES-256") {
            "AES-128" => Some(("aes128", false)),
            "AES-256" => Some(("aes256", false)),
            "AES-128-GCM" => Some(("aes128gcm16", true)),
            "AES-256-GCM" => Some(("aes256gcm16", true)),
            "ChaCha20Poly1305" => Some(("chacha20poly1305", true)),
            other => {
                draft.not_honoured(&sa.path("EncryptionAlgorithm"), format!("{other:?}: {OWN}"));
                None
            }
        };
        let hash = match sa.text(draft, "IntegrityAlgorithm")?.unwrap_or("SHA2-256") {
            "SHA1-96" => {
                draft.legacy = true;
                Some("sha1")
            }
            "SHA2-256" => Some("sha256"),
            "SHA2-384" => Some("sha384"),
            "SHA2-512" => Some("sha512"),
            other => {
                draft.not_honoured(&sa.path("IntegrityAlgorithm"), format!("{other:?}: {OWN}"));
                None
            }
        };
        let group = match sa.number(draft, "DiffieHellmanGroup")?.unwrap_or(14) {
            2 => {
                draft.legacy = true;
                Some("modp1024")
            }
            14 => Some("modp2048"),
            15 => Some("modp3072"),
            16 => Some("modp4096"),
            19 => Some("ecp256"),
            20 => Some("ecp384"),
            21 => Some("ecp521"),
            31 => Some("x25519"),
            other => {
                draft.not_honoured(&sa.path("DiffieHellmanGroup"), format!("{other}: {OWN}"));
                None
            }
        };
        if sa.has("PostQuantumKeyExchangeMethods") {
            let key = sa.path("PostQuantumKeyExchangeMethods");
            draft.not_honoured(&key, "post-quantum key exchange is not there yet");
        }
        let lifetime_s = match sa.number(draft, "LifeTimeInMinutes")? {
            None => None,
            Some(minutes @ 1..=10_080) => u32::try_from(minutes * 60).ok(),
            Some(minutes) => {
                draft.not_honoured(&sa.path("LifeTimeInMinutes"), format!("{minutes} is out of range"));
                None
            }
        };
        let (encryption, is_aead) = encryption.map_or((None, false), |(name, aead)| (Some(name), aead));
        Ok(Self { encryption, is_aead, hash, group, lifetime_s })
    }

    fn ike(&self) -> Option<Proposal> {
        let (encryption, hash, group) = (self.encryption?, self.hash?, self.group?);
        // An AEAD checks integrity itself; the hash is then the PRF's.
        let prf = if self.is_aead { "prf" } else { "" };
        Proposal::try_from(format!("{encryption}-{prf}{hash}-{group}")).ok()
    }

    fn esp(&self, pfs: bool) -> Option<Proposal> {
        let mut text = self.encryption?.to_owned();
        if !self.is_aead {
            text.push('-');
            text.push_str(self.hash?);
        }
        if pfs {
            text.push('-');
            text.push_str(self.group?);
        }
        Proposal::try_from(text).ok()
    }
}
