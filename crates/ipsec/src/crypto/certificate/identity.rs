//! Whether a certificate is for an IKE identity (RFC 4945 §3.1, RFC 6125 §6).

use std::net::IpAddr;

use rustls_pki_types::{DnsName, ServerName};
use webpki::EndEntityCert;
use x509_cert::ext::pkix::name::GeneralName;

use super::fields::Fields;
use super::{CertificateError, name};
use crate::wire::Id;

/// FQDN and addresses are matched by webpki: exactly, without regard to case, one wildcard as the whole left-most
/// label. A key ID, and any type that we don't know, matches no certificate.
pub(super) fn matches(
    certificate: &EndEntityCert<'_>,
    fields: &Fields<'_>,
    expected: &Id,
) -> Result<bool, CertificateError> {
    let is_valid_for = |name: ServerName<'_>| Ok(certificate.verify_is_valid_for_subject_name(&name).is_ok());
    match expected {
        Id::Fqdn(fqdn) => match DnsName::try_from(fqdn.as_str()) {
            Ok(fqdn) => is_valid_for(ServerName::DnsName(fqdn)),
            Err(_) => Ok(false),
        },
        Id::Ipv4(address) => is_valid_for(ServerName::from(IpAddr::V4(*address))),
        Id::Ipv6(address) => is_valid_for(ServerName::from(IpAddr::V6(*address))),
        Id::Email(email) => {
            let is_it = |name: &GeneralName| match name {
                GeneralName::Rfc822Name(presented) => same_mailbox(presented.as_str(), email),
                GeneralName::DnsName(_)
                | GeneralName::DirectoryName(_)
                | GeneralName::EdiPartyName(_)
                | GeneralName::IpAddress(_)
                | GeneralName::OtherName(_)
                | GeneralName::RegisteredId(_)
                | GeneralName::UniformResourceIdentifier(_) => false,
            };
            Ok(fields.subject_alt_names()?.iter().any(is_it))
        }
        Id::Dn(dn) => Ok(name::equal(fields.subject, dn)),
        Id::KeyId(_) | Id::Other(..) => Ok(false),
    }
}

/// The local part exactly, the host part without regard to case (RFC 5280 §7.5).
fn same_mailbox(presented: &str, expected: &str) -> bool {
    match (presented.rsplit_once('@'), expected.rsplit_once('@')) {
        (Some((local, host)), Some((expected_local, expected_host))) => {
            !local.is_empty() && local == expected_local && host.eq_ignore_ascii_case(expected_host)
        }
        (_, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mailboxes_differ_by_the_case_of_the_local_part_only() {
        assert!(same_mailbox("alice@Example.ORG", "alice@example.org"));
        assert!(!same_mailbox("Alice@example.org", "alice@example.org"));
        assert!(!same_mailbox("example.org", "example.org"));
        assert!(!same_mailbox("@example.org", "@example.org"));
        assert!(!same_mailbox("alice@example.org.evil", "alice@example.org"));
    }
}
