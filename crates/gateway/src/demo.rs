//! A gateway to try the client on: fresh keys, one user, and the profile that fits.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use evenkeel_platform::dirs::{self, DirError};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};

/// The gateway's identity.
pub const GATEWAY_ID: &str = "gateway.practice";
/// The one user.
pub const USER: &str = "alice";
/// The TCP ports that a client's profile tries by default.
pub const TCP_PORTS: [u16; 2] = [4500, 443];
/// How long the certificates are good for: a demo that is left lying about stops working.
const VALIDITY: Duration = Duration::from_secs(30 * 24 * 3600);
/// Clocks differ.
const BACKDATED: Duration = Duration::from_secs(24 * 3600);

/// Where the demo's gateway is to listen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DemoOptions {
    /// Address that the client connects to and the gateway listens on.
    pub address: IpAddr,
    /// UDP port without non-ESP markers.
    pub ike_port: u16,
    /// UDP port with them.
    pub nat_port: u16,
    /// TCP ports for streams.
    pub tcp_ports: Vec<u16>,
}

/// Why a demo can't be made.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The folder.
    #[error(transparent)]
    Directory(#[from] DirError),
    /// A file.
    #[error("{}: {reason}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
    /// Keys or certificates.
    #[error("can't make certificates")]
    Certificate(#[from] rcgen::Error),
    /// The system has no randomness to give.
    #[error("the system gave no random numbers")]
    Random,
}

/// Writes a demo into `dir`, for this account's eyes only: `ca.crt`, `gateway.crt`, `gateway.key`, `gateway.toml` for
/// the gateway, `profile.toml` for the client. The control socket will be `control.sock` beside them. Returns the path of
/// `gateway.toml`.
pub fn write(dir: &Path, options: &DemoOptions) -> Result<PathBuf, DemoError> {
    dirs::create_private(dir)?;
    let password = random_password()?;
    let certificates = Certificates::generate(options)?;
    let write = |name: &str, contents: &str| {
        let path = dir.join(name);
        match dirs::write_private(&path, contents.as_bytes()) {
            Ok(()) => Ok(path),
            Err(reason) => Err(DemoError::Write { path, reason }),
        }
    };
    write("ca.crt", &certificates.ca_pem)?;
    write("gateway.crt", &certificates.gateway_pem)?;
    write("gateway.key", &certificates.gateway_key_pem)?;
    write("profile.toml", &profile(options, &password))?;
    write("gateway.toml", &gateway_config(options, &password))
}

struct Certificates {
    ca_pem: String,
    gateway_pem: String,
    gateway_key_pem: String,
}

impl Certificates {
    fn generate(options: &DemoOptions) -> Result<Self, DemoError> {
        let mut params = params("Evenkeel practice CA")?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;

        let mut params = self::params(GATEWAY_ID)?;
        params.subject_alt_names =
            vec![SanType::DnsName(GATEWAY_ID.try_into()?), SanType::IpAddress(options.address)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let gateway = params.signed_by(&key, &ca)?;
        Ok(Self { ca_pem: ca.pem(), gateway_pem: gateway.pem(), gateway_key_pem: key.serialize_pem() })
    }
}

fn params(common_name: &str) -> Result<CertificateParams, DemoError> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    let now = SystemTime::now();
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + VALIDITY).into();
    Ok(params)
}

/// 26 letters, each of 26: 122 bits.
fn random_password() -> Result<String, DemoError> {
    let mut password = String::new();
    while password.len() < 26 {
        let mut bytes = [0; 64];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| DemoError::Random)?;
        // 234 is the largest multiple of 26 in a byte: every letter stays as likely as any other.
        let letters = bytes.iter().filter(|&&byte| byte < 234).map(|byte| char::from(b'a' + byte % 26));
        password.extend(letters.take(26 - password.len()));
    }
    Ok(password)
}

fn gateway_config(options: &DemoOptions, password: &str) -> String {
    let DemoOptions { address, ike_port, nat_port, tcp_ports } = options;
    format!(
        r#"# A practice gateway, not for production. Written by `evenkeel-gateway --demo`.

[listen]
addresses = ["{address}"]
ike_port = {ike_port}
nat_port = {nat_port}
tcp_ports = {tcp_ports:?}
tcp_tls = true
control = "control.sock"

[identity]
id = "{GATEWAY_ID}"
certificate = "gateway.crt"
key = "gateway.key"

[clients]
eap = [{{ name = "{USER}", password = "{password}" }}]

[assign]
v4 = "10.77.1.0/24"
v6 = "fd77::1:0/112"
dns = ["10.77.0.1", "fd77::1"]
domains = ["practice"]
subnets = ["10.77.0.0/16", "fd77::/64"]

[inner]
addresses = ["10.77.0.1", "fd77::1"]
"#
    )
}

fn profile(options: &DemoOptions, password: &str) -> String {
    let DemoOptions { address, ike_port, nat_port, tcp_ports } = options;
    // The client's one port setting names a port that takes IKE and ESP alike, which is the second of ours.
    let ports = match (ike_port, nat_port) {
        (500, 4500) => String::new(),
        _ => format!("[gateway_ports]\nudp = {nat_port}\n\n"),
    };
    let fallback = match tcp_ports.as_slice() {
        ports if *ports == TCP_PORTS => String::new(),
        [] => "[fallback]\ntcp = false\n\n".to_owned(),
        ports => format!("[fallback]\ntcp_ports = {ports:?}\n\n"),
    };
    format!(
        r#"# For the practice gateway of the same folder only. Written by `evenkeel-gateway --demo`.
name = "practice"
gateway = "{address}"
remote_id = "{GATEWAY_ID}"

{ports}{fallback}[auth]
method = "eap-mschapv2"
identity = "{USER}"
secret = "{password}"

[trust]
ca = ["ca.crt"]

[tunnel]
remote_ts = ["10.77.0.0/16", "fd77::/64"]
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Credential, GatewayConfig};

    fn options() -> DemoOptions {
        DemoOptions {
            address: "198.51.100.10".parse().unwrap(),
            ike_port: 500,
            nat_port: 4500,
            tcp_ports: TCP_PORTS.to_vec(),
        }
    }

    #[test]
    fn what_is_written_is_what_the_gateway_reads() {
        let dir = tempfile::tempdir().unwrap();
        let path = write(&dir.path().join("demo"), &options()).unwrap();
        let Ok(config) = GatewayConfig::load(&path) else { panic!("the demo's own configuration") };
        assert_eq!(config.listen.addresses, [options().address]);
        assert!(matches!(&config.credential, Credential::Certificate { chain, .. } if chain.len() == 1));
        let [(user, password)] = config.clients.eap.as_slice() else { panic!("one user") };
        assert_eq!((user.as_str(), password.len()), (USER, 26));

        let profile = std::fs::read_to_string(path.with_file_name("profile.toml")).unwrap();
        let password = std::str::from_utf8(password.as_bytes()).unwrap();
        assert!(profile.contains(&format!("secret = \"{password}\"")));
        assert!(!profile.contains("gateway_ports") && !profile.contains("fallback"));
        assert_eq!(config.listen.tcp_ports, TCP_PORTS);
        assert!(config.listen.tcp_tls);
    }

    #[test]
    fn other_ports_reach_the_profile() {
        let options =
            DemoOptions { ike_port: 10_500, nat_port: 14_500, tcp_ports: vec![14_500, 14_443], ..options() };
        assert!(profile(&options, "x").contains("[gateway_ports]\nudp = 14500\n"));
        let parsed: toml::Table = toml::from_str(&profile(&options, "x")).unwrap();
        assert_eq!(parsed["gateway_ports"]["udp"].as_integer(), Some(14_500));
        assert_eq!(parsed["fallback"]["tcp_ports"].to_string(), "[14500, 14443]");
        let options = DemoOptions { tcp_ports: Vec::new(), ..options };
        assert!(profile(&options, "x").contains("[fallback]\ntcp = false\n"));
    }

    #[test]
    fn every_demo_has_a_password_of_its_own() {
        let (one, other) = (random_password().unwrap(), random_password().unwrap());
        assert!(one != other && one.len() == 26 && one.bytes().all(|byte| byte.is_ascii_lowercase()));
    }
}
