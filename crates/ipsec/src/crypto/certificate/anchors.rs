//! The certification authorities that are trusted.

use aws_lc_rs::digest;
use rustls_pki_types::{CertificateDer, TrustAnchor};

use super::fields::Fields;

/// A certificate that was to be trusted can't be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("certificate {index} of the trusted authorities can not be read")]
pub struct TrustAnchorError {
    /// Which one, from 0.
    pub index: usize,
}

/// Trusted certification authorities: subject, key and name constraints of each, their own validity and usage not
/// counting (RFC 5280 §6.2). And pinned certificates: those of no authority, trusted as themselves only.
#[derive(Clone, Debug, Default)]
pub struct TrustAnchors {
    authorities: Vec<TrustAnchor<'static>>,
    pinned: Vec<Pinned>,
}

#[derive(Clone, Debug)]
struct Pinned {
    certificate: Vec<u8>,
    /// An array for [`TrustAnchors::for_leaf`] to lend.
    anchor: [TrustAnchor<'static>; 1],
}

impl TrustAnchors {
    /// From DER certificates, all of which must be readable: the authorities that a profile names.
    ///
    /// # Errors
    /// [`TrustAnchorError`] with the first that isn't.
    pub fn from_der<T: AsRef<[u8]>>(
        certificates: impl IntoIterator<Item = T>,
    ) -> Result<Self, TrustAnchorError> {
        let mut anchors = Self::default();
        for (index, certificate) in certificates.into_iter().enumerate() {
            anchors.add(certificate.as_ref()).ok_or(TrustAnchorError { index })?;
        }
        Ok(anchors)
    }

    /// From DER certificates, leaving out what can't be read: the system's roots, among which one damaged file must not
    /// cost all the others.
    #[must_use]
    pub fn from_readable_der<T: AsRef<[u8]>>(certificates: impl IntoIterator<Item = T>) -> Self {
        let mut anchors = Self::default();
        for certificate in certificates {
            // What can't be read is not trusted.
            let _: Option<()> = anchors.add(certificate.as_ref());
        }
        anchors
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.authorities.len() + self.pinned.len()
    }

    /// Whether there is none, so that nothing can be trusted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The Certification Authority field of a CERTREQ payload: the SHA-1 hashes of their SubjectPublicKeyInfos, 20
    /// octets each (RFC 7296 §3.7).
    #[must_use]
    pub fn ca_key_hashes(&self) -> Vec<u8> {
        let mut hashes = Vec::with_capacity(20 * self.len());
        for anchor in self.authorities.iter().chain(self.pinned.iter().flat_map(|pinned| &pinned.anchor)) {
            let spki = webpki::spki_for_anchor(anchor);
            hashes.extend_from_slice(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &spki).as_ref());
        }
        hashes
    }

    /// The anchors that may end a path from this certificate: itself if it is pinned, else the authorities.
    pub(super) fn for_leaf(&self, leaf: &[u8]) -> &[TrustAnchor<'static>] {
        match self.pinned.iter().find(|pinned| pinned.certificate == leaf) {
            Some(pinned) => &pinned.anchor,
            None => &self.authorities,
        }
    }

    fn add(&mut self, certificate: &[u8]) -> Option<()> {
        let is_authority = Fields::of(certificate).ok()?.may_be_authority().ok()?;
        let der = CertificateDer::from(certificate);
        let anchor = webpki::anchor_from_trusted_cert(&der).ok()?.to_owned();
        if is_authority {
            self.authorities.push(anchor);
        } else {
            self.pinned.push(Pinned { certificate: certificate.to_vec(), anchor: [anchor] });
        }
        Some(())
    }
}
