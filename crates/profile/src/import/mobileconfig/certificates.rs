//! The certificate payloads beside a VPN payload.
use super::Entry;
use crate::import::draft::Draft;
use crate::{Certificate, CertificateChain, FileProblem, Problem, ProfileError, Secret, pkcs12};

/// What the file carries.
pub(super) struct Certificates<'v> {
    /// Those that may vouch for a gateway: CA certificates that sign themselves.
    pub(super) authorities: Vec<Certificate>,
    /// PKCS#12 payloads.
    identities: Vec<Entry<'v>>,
}

impl<'v> Certificates<'v> {
    pub(super) fn collect(draft: &mut Draft, payloads: &[Entry<'v>]) -> Result<Self, ProfileError> {
        let mut found = Self { authorities: Vec::new(), identities: Vec::new() };
        for payload in payloads {
            match payload.text(draft, "PayloadType")?.unwrap_or_default() {
                "com.apple.security.pkcs12" => found.identities.push(payload.clone()),
                "com.apple.security.root" | "com.apple.security.pem" | "com.apple.security.pkcs1" => {
                    found.authority(draft, payload)?;
                }
                _ => {}
            }
        }
        Ok(found)
    }

    fn authority(&mut self, draft: &mut Draft, payload: &Entry<'v>) -> Result<(), ProfileError> {
        let key = payload.path("PayloadContent");
        let bytes = payload
            .bytes("PayloadContent")
            .ok_or_else(|| draft.refuse(&key, Problem::Missing("PayloadContent")))?;
        let all = Certificate::read_all(bytes)
            .map_err(|error| draft.refuse(&key, Problem::Unreadable(FileProblem::Certificate(error))))?;
        for certificate in all {
            if !certificate.is_self_issued() {
                let why =
                    format!("{:?} is no root; the gateway has to send it itself", certificate.subject());
                draft.not_honoured(&payload.key, why);
            } else if !self.authorities.contains(&certificate) {
                self.authorities.push(certificate);
            }
        }
        Ok(())
    }

    /// The key and certificate with this payload UUID.
    pub(super) fn identity(
        &self,
        draft: &Draft,
        key: &str,
        uuid: &str,
        passphrase: Option<&Secret>,
    ) -> Result<(CertificateChain, Secret), ProfileError> {
        let named = |entry: &&Entry<'_>| {
            entry.text(draft, "PayloadUUID").ok().flatten().is_some_and(|id| id.eq_ignore_ascii_case(uuid))
        };
        let payload = self.identities.iter().find(named).ok_or_else(|| {
            let what = format!("the file has no com.apple.security.pkcs12 payload with UUID {uuid:?}");
            draft.refuse(key, Problem::Unsupported(what))
        })?;
        let content = payload.path("PayloadContent");
        let bytes = payload.bytes("PayloadContent").unwrap_or_default();
        let own = payload.text(draft, "Password")?.map(Secret::new);
        pkcs12::open(bytes, own.as_ref().or(passphrase))
            .map_err(|error| draft.refuse(&content, Problem::Unreadable(FileProblem::Pkcs12(error))))
    }
}
