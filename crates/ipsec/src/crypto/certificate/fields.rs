//! The parts of a certificate that webpki doesn't give out.

use std::net::{Ipv4Addr, Ipv6Addr};

use x509_cert::der::asn1::AnyRef;
use x509_cert::der::oid::AssociatedOid;
use x509_cert::der::{self, Decode, Encode, Reader, SliceReader, Tag, TagNumber};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, SubjectAltName};
use x509_cert::ext::{Extension, Extensions};

use super::CertificateError;
use crate::wire::Id;

/// Subject and extensions. Serial number, dates and key are passed over: webpki reads those, more leniently than a
/// whole decoder would.
pub(super) struct Fields<'a> {
    /// A DER Name.
    pub(super) subject: &'a [u8],
    is_version_1: bool,
    extensions: Vec<Extension>,
}

impl<'a> Fields<'a> {
    pub(super) fn of(certificate: &'a [u8]) -> Result<Self, CertificateError> {
        Self::decode(certificate).map_err(|_| CertificateError::Malformed)
    }

    fn decode(certificate: &'a [u8]) -> der::Result<Self> {
        const VERSION: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber(0) };
        const EXTENSIONS: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber(3) };

        let mut reader = SliceReader::new(certificate)?;
        let fields = reader.sequence(|reader| {
            // TBSCertificate (RFC 5280 §4.1).
            let fields = reader.sequence(|tbs| {
                let is_version_1 = Tag::peek(tbs)? != VERSION;
                if !is_version_1 {
                    tbs.tlv_bytes()?;
                }
                // serialNumber, signature, issuer, validity
                for _ in 0..4 {
                    tbs.tlv_bytes()?;
                }
                let subject = tbs.tlv_bytes()?;
                // subjectPublicKeyInfo, then the optional unique identifiers.
                tbs.tlv_bytes()?;
                let mut extensions = Extensions::new();
                while !tbs.is_finished() {
                    let field = AnyRef::decode(tbs)?;
                    if der::Tagged::tag(&field) == EXTENSIONS {
                        extensions = Extensions::from_der(field.value())?;
                    }
                }
                Ok::<_, der::Error>(Self { subject, is_version_1, extensions })
            })?;
            // signatureAlgorithm, signatureValue
            reader.tlv_bytes()?;
            reader.tlv_bytes()?;
            Ok::<_, der::Error>(fields)
        })?;
        reader.finish()?;
        Ok(fields)
    }

    /// Whether the certificate is one of a CA. Those of version 1 can't say so; they are old roots.
    pub(super) fn may_be_authority(&self) -> Result<bool, CertificateError> {
        let constraints = self.extension::<BasicConstraints>()?;
        Ok(self.is_version_1 || constraints.is_some_and(|constraints| constraints.ca))
    }

    /// `None` if the extension is absent.
    pub(super) fn key_usage(&self) -> Result<Option<KeyUsage>, CertificateError> {
        self.extension()
    }

    pub(super) fn subject_alt_names(&self) -> Result<Vec<GeneralName>, CertificateError> {
        Ok(self.extension::<SubjectAltName>()?.map(|names| names.0).unwrap_or_default())
    }

    pub(super) fn ids(&self) -> Result<Vec<Id>, CertificateError> {
        const EMPTY_NAME: [u8; 2] = [0x30, 0x00];
        let subject = (self.subject != EMPTY_NAME).then(|| Id::Dn(self.subject.to_vec()));
        let alternatives = self.subject_alt_names()?;
        Ok(subject.into_iter().chain(alternatives.iter().filter_map(id_of)).collect())
    }

    fn extension<'e, T: Decode<'e> + AssociatedOid>(&'e self) -> Result<Option<T>, CertificateError> {
        let mut found = self.extensions.iter().filter(|extension| extension.extn_id == T::OID);
        match (found.next(), found.next()) {
            (None, _) => Ok(None),
            (Some(extension), None) => match T::from_der(extension.extn_value.as_bytes()) {
                Ok(value) => Ok(Some(value)),
                Err(_) => Err(CertificateError::Malformed),
            },
            // RFC 5280 §4.2: no more than one of each.
            (Some(_), Some(_)) => Err(CertificateError::Malformed),
        }
    }
}

/// The IKE identity that a subjectAltName corresponds to (RFC 4945 §3.1).
fn id_of(name: &GeneralName) -> Option<Id> {
    match name {
        GeneralName::DnsName(name) => Some(Id::Fqdn(name.as_str().to_owned())),
        GeneralName::Rfc822Name(name) => Some(Id::Email(name.as_str().to_owned())),
        GeneralName::DirectoryName(name) => name.to_der().ok().map(Id::Dn),
        GeneralName::IpAddress(address) => {
            let v4 = <[u8; 4]>::try_from(address.as_bytes()).map(|octets| Id::Ipv4(Ipv4Addr::from(octets)));
            v4.or_else(|_| {
                <[u8; 16]>::try_from(address.as_bytes()).map(|octets| Id::Ipv6(Ipv6Addr::from(octets)))
            })
            .ok()
        }
        GeneralName::OtherName(_)
        | GeneralName::EdiPartyName(_)
        | GeneralName::UniformResourceIdentifier(_)
        | GeneralName::RegisteredId(_) => None,
    }
}
