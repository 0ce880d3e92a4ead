//! From the shape of a file to a profile: combinations, ranges, and the files it refers to.
use std::fmt::Display;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::file::{AuthFile, FallbackFile, PortalFile, ProfileFile, TimersFile, TrustFile};
use crate::key::read_private_key;
use crate::wireguard::resolve_wireguard;
use crate::{
    Auth, Certificate, CertificateChain, Cidr, Conflict, EspOptions, Fallback, FileProblem, GatewayPorts,
    Host, IkeOptions, Method, Portal, ProbeAnswer, ProbePage, ProbePageError, Problem, Profile, Proposal,
    Secret, Secrets, TcpPorts, Timers, Trust, Tunnel, Warning, pkcs12,
};

/// Reads the file that a profile names so: resolved path, and contents or why not.
pub type ReadReference<'r> = dyn FnMut(&str) -> (PathBuf, Result<Vec<u8>, FileProblem>) + 'r;

/// A problem and the dotted key it is about.
pub(crate) struct Fault {
    pub(crate) key: Option<String>,
    pub(crate) problem: Problem,
}

pub(crate) fn fault(key: impl Into<String>, problem: Problem) -> Fault {
    Fault { key: Some(key.into()), problem }
}

/// Checks what serde can't and reads the references.
pub(crate) fn resolve(
    file: ProfileFile,
    passphrase: Option<&Secret>,
    read: &mut ReadReference<'_>,
) -> Result<(Profile, Secrets, Vec<Warning>), Fault> {
    check_ranges(&file)?;
    let mut warnings = Vec::new();
    if file.legacy {
        warnings.push(Warning::Legacy);
    }
    if file.auth.secret.is_some() || file.wireguard.is_some() {
        warnings.push(Warning::SecretInFile);
    }
    let remote_id = match file.remote_id {
        Some(id) => id,
        None => file
            .gateway
            .as_str()
            .parse()
            .map_err(|e: crate::IdentityError| fault("gateway", Problem::Value(e.to_string())))?,
    };
    let local_id = file.auth.local_id.clone();
    let fallback = resolve_fallback(file.fallback, file.gateway_ports.tcp)?;
    let (auth, mut secrets) = resolve_auth(file.auth, file.trust, passphrase, read)?;
    let tunnel = Tunnel {
        remote_ts: entries("tunnel.remote_ts", file.tunnel.remote_ts, Cidr::try_from)?,
        local_ts: entries("tunnel.local_ts", file.tunnel.local_ts, Cidr::try_from)?,
        dns: entries("tunnel.dns", file.tunnel.dns, dns_server)?,
        domains: entries("tunnel.domains", file.tunnel.domains, Host::try_from)?,
        mtu: file.tunnel.mtu,
    };
    let wireguard = file
        .wireguard
        .map(|peer| resolve_wireguard(peer, &tunnel, &mut secrets).map(Box::new))
        .transpose()?;
    let profile = Profile {
        name: file.name,
        gateway: file.gateway,
        gateway_ports: GatewayPorts { udp: file.gateway_ports.udp, tcp: file.gateway_ports.tcp },
        remote_id,
        local_id,
        auth,
        tunnel,
        ike: IkeOptions { proposals: entries("ike.proposals", file.ike.proposals, Proposal::try_from)? },
        esp: EspOptions {
            proposals: entries("esp.proposals", file.esp.proposals, Proposal::try_from)?,
            pfs: file.esp.pfs,
        },
        legacy: file.legacy,
        timers: Timers {
            ike_rekey_s: file.timers.ike_rekey_s,
            child_rekey_s: file.timers.child_rekey_s,
            dpd_s: file.timers.dpd_s,
        },
        portal: resolve_portal(file.portal)?,
        fallback,
        wireguard,
    };
    Ok((profile, secrets, warnings))
}

fn check_ranges(file: &ProfileFile) -> Result<(), Fault> {
    let within = |key: &str, value: Option<u32>, min: u32, max: u32| match value {
        Some(v) if !(min..=max).contains(&v) => {
            Err(fault(key, Problem::Range { value: v.into(), min: min.into(), max: max.into() }))
        }
        _ => Ok(()),
    };
    let at_most = |key: &str, count: usize, max: usize| {
        if count > max { Err(fault(key, Problem::TooMany { count, max })) } else { Ok(()) }
    };
    let TimersFile { ike_rekey_s, child_rekey_s, dpd_s } = file.timers;
    within("timers.ike_rekey_s", ike_rekey_s, 5, 604_800)?;
    within("timers.child_rekey_s", child_rekey_s, 5, 604_800)?;
    within("timers.dpd_s", dpd_s, 1, 86_400)?;
    within("tunnel.mtu", file.tunnel.mtu.map(u32::from), 576, 9000)?;
    within("gateway_ports.udp", file.gateway_ports.udp.map(u32::from), 1, 65_535)?;
    within("gateway_ports.tcp", file.gateway_ports.tcp.map(u32::from), 1, 65_535)?;
    // RFC 7296 §3.13: the number of selectors is one byte; more than a few dozen is a mistake.
    at_most("tunnel.remote_ts", file.tunnel.remote_ts.len(), 64)?;
    at_most("tunnel.local_ts", file.tunnel.local_ts.len(), 64)?;
    at_most("tunnel.dns", file.tunnel.dns.len(), 8)?;
    at_most("tunnel.domains", file.tunnel.domains.len(), 64)?;
    at_most("ike.proposals", file.ike.proposals.len(), 32)?;
    at_most("esp.proposals", file.esp.proposals.len(), 32)?;
    at_most("trust.ca", file.trust.as_ref().map_or(0, |t| t.ca.len()), 64)?;
    Ok(())
}

fn resolve_portal(file: PortalFile) -> Result<Portal, Fault> {
    let PortalFile { detect, url, expect_status, expect_body } = file;
    let answer = match (expect_status, expect_body) {
        (Some(_), Some(_)) => {
            return Err(fault("portal.expect_body", Problem::Conflict(Conflict::TwoPortalAnswers)));
        }
        (Some(status), None) => Some(ProbeAnswer::Status(status)),
        (None, Some(body)) => Some(ProbeAnswer::Body(body)),
        (None, None) => None,
    };
    let page = match (url, answer) {
        (None, None) => None,
        (None, Some(ProbeAnswer::Status(_))) => {
            return Err(fault("portal.expect_status", Problem::Conflict(Conflict::PortalAnswerWithoutUrl)));
        }
        (None, Some(ProbeAnswer::Body(_))) => {
            return Err(fault("portal.expect_body", Problem::Conflict(Conflict::PortalAnswerWithoutUrl)));
        }
        (Some(url), answer) => {
            Some(ProbePage::new(url, answer.unwrap_or(ProbeAnswer::Status(204))).map_err(|error| {
                let key = match error {
                    ProbePageError::Secure => "portal.url",
                    ProbePageError::Status => "portal.expect_status",
                    ProbePageError::Body => "portal.expect_body",
                };
                fault(key, Problem::Value(error.to_string()))
            })?)
        }
    };
    Ok(Portal { detect: detect.unwrap_or(true), page })
}

/// Ports that nobody would try, and TLS on a port that is not tried, are mistakes.
fn resolve_fallback(file: FallbackFile, only: Option<u16>) -> Result<Fallback, Fault> {
    let conflict = |key: &str, conflict| Err(fault(key, Problem::Conflict(conflict)));
    let tcp = file.tcp.unwrap_or(true);
    match (tcp, only, &file.tcp_ports) {
        (false, Some(_), _) => return conflict("gateway_ports.tcp", Conflict::PortWithoutTcp),
        (false, None, Some(_)) => return conflict("fallback.tcp_ports", Conflict::PortWithoutTcp),
        (true, Some(_), Some(_)) => return conflict("fallback.tcp_ports", Conflict::TwoTcpPorts),
        (true, _, Some(ports)) if ports.is_empty() => {
            return conflict("fallback.tcp_ports", Conflict::NoTcpPort);
        }
        (true | false, ..) => {}
    }
    let ports = match (tcp, only, file.tcp_ports) {
        (false, ..) => TcpPorts::none(),
        (true, Some(only), _) => ports(vec![only])?,
        (true, None, Some(listed)) => ports(listed)?,
        (true, None, None) => Fallback::default().tcp,
    };
    if file.tls && !ports.as_slice().contains(&Fallback::TLS_PORT) {
        return conflict("fallback.tls", Conflict::TlsWithoutItsPort);
    }
    Ok(Fallback { tcp: ports, tls: file.tls })
}

fn ports(listed: Vec<u16>) -> Result<TcpPorts, Fault> {
    TcpPorts::try_from(listed).map_err(|error| fault("fallback.tcp_ports", Problem::Value(error.to_string())))
}

/// Checks each entry of a list and blames the one at fault.
pub(crate) fn entries<T, E: Display>(
    key: &str,
    list: Vec<String>,
    check: impl Fn(String) -> Result<T, E>,
) -> Result<Vec<T>, Fault> {
    let blame = |index, error: E| fault(format!("{key}[{index}]"), Problem::Value(error.to_string()));
    list.into_iter().enumerate().map(|(i, text)| check(text).map_err(|e| blame(i, e))).collect()
}

pub(crate) fn dns_server(text: String) -> Result<IpAddr, String> {
    match text.parse::<IpAddr>() {
        Ok(ip) if !ip.is_unspecified() && !ip.is_multicast() => Ok(ip),
        _ => Err(format!("{text:?} can't be a DNS server; allowed: the IPv4 or IPv6 address of a host")),
    }
}

fn resolve_auth(
    auth: AuthFile,
    trust: Option<TrustFile>,
    passphrase: Option<&Secret>,
    read: &mut ReadReference<'_>,
) -> Result<(Auth, Secrets), Fault> {
    check_combination(&auth, trust.as_ref())?;
    let mut secrets = Secrets::default();
    let resolved = match auth.method {
        Method::Psk => {
            secrets.psk = auth.secret;
            Auth::Psk
        }
        Method::EapMschapv2 => {
            let identity = auth
                .identity
                .ok_or_else(|| fault("auth.method", Problem::Conflict(Conflict::EapWithoutIdentity)))?;
            secrets.password = auth.secret;
            Auth::EapMschapv2 { identity, trust: resolve_trust(trust, read)? }
        }
        Method::Certificate => {
            let passphrase = auth.secret.as_ref().or(passphrase);
            let (chain, key) = match (auth.pkcs12, auth.certificate, auth.key) {
                (Some(file), ..) => from_pkcs12(&file, passphrase, read)?,
                (None, Some(certificate), Some(key)) => from_files(&certificate, &key, passphrase, read)?,
                (None, ..) => {
                    return Err(fault("auth.method", Problem::Conflict(Conflict::CertificateMissing)));
                }
            };
            secrets.private_key = Some(key);
            Auth::Certificate { chain, trust: resolve_trust(trust, read)? }
        }
    };
    Ok((resolved, secrets))
}

fn check_combination(auth: &AuthFile, trust: Option<&TrustFile>) -> Result<(), Fault> {
    let conflict = |key: &str, conflict| Err(fault(key, Problem::Conflict(conflict)));
    if auth.method != Method::EapMschapv2 && auth.identity.is_some() {
        return conflict("auth.identity", Conflict::IdentityWithoutEap);
    }
    if auth.method == Method::EapMschapv2 && auth.identity.is_none() {
        return conflict("auth.method", Conflict::EapWithoutIdentity);
    }
    if auth.method != Method::Certificate {
        for (key, value) in [("certificate", &auth.certificate), ("key", &auth.key), ("pkcs12", &auth.pkcs12)]
        {
            if value.is_some() {
                return conflict(&format!("auth.{key}"), Conflict::KeyMaterialWithoutCertificate(key));
            }
        }
    } else {
        match (auth.pkcs12.is_some(), auth.certificate.is_some(), auth.key.is_some()) {
            (true, false, false) | (false, true, true) => {}
            (true, ..) => return conflict("auth.pkcs12", Conflict::TwoCertificates),
            (false, true, false) => return conflict("auth.certificate", Conflict::CertificateWithoutKey),
            (false, false, true) => return conflict("auth.key", Conflict::KeyWithoutCertificate),
            (false, false, false) => return conflict("auth.method", Conflict::CertificateMissing),
        }
    }
    let trusts = trust.is_some_and(|t| t.system || !t.ca.is_empty());
    match auth.method {
        Method::Psk if trust.is_some() => conflict("trust", Conflict::TrustWithPsk),
        Method::EapMschapv2 | Method::Certificate if !trusts => conflict("trust", Conflict::TrustMissing),
        Method::Psk | Method::EapMschapv2 | Method::Certificate => Ok(()),
    }
}

fn resolve_trust(trust: Option<TrustFile>, read: &mut ReadReference<'_>) -> Result<Trust, Fault> {
    let TrustFile { ca, system } = trust.unwrap_or_default();
    let mut certificates: Vec<Certificate> = Vec::new();
    for (index, file) in ca.iter().enumerate() {
        for one in reference(&format!("trust.ca[{index}]"), file, read, Certificate::read_all)? {
            if !certificates.contains(&one) {
                certificates.push(one);
            }
        }
    }
    Trust::new(certificates, system).ok_or_else(|| fault("trust", Problem::Conflict(Conflict::TrustMissing)))
}

fn from_pkcs12(
    file: &str,
    passphrase: Option<&Secret>,
    read: &mut ReadReference<'_>,
) -> Result<(CertificateChain, Secret), Fault> {
    reference("auth.pkcs12", file, read, |bytes| pkcs12::open(bytes, passphrase))
}

fn from_files(
    certificate: &str,
    key: &str,
    passphrase: Option<&Secret>,
    read: &mut ReadReference<'_>,
) -> Result<(CertificateChain, Secret), Fault> {
    let chain = reference("auth.certificate", certificate, read, |bytes| {
        Certificate::read_all(bytes).and_then(CertificateChain::try_from)
    })?;
    let key = reference("auth.key", key, read, |bytes| read_private_key(bytes, passphrase))?;
    Ok((chain, key))
}

/// Reads one referenced file and makes something of it, or says which file under which key failed.
fn reference<T, E: Into<FileProblem>>(
    key: &str,
    named: &str,
    read: &mut ReadReference<'_>,
    parse: impl FnOnce(&[u8]) -> Result<T, E>,
) -> Result<T, Fault> {
    let (file, contents) = read(named);
    contents
        .map(zeroize::Zeroizing::new)
        .and_then(|bytes| parse(&bytes).map_err(Into::into))
        .map_err(|problem| fault(key, Problem::Reference { file, problem }))
}
