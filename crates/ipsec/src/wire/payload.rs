//! Payloads (RFC 7296 §3.2 to §3.16).

use super::{ConfigPayload, EspSpi, Id, IkeSpi, Notify, Proposal, TrafficSelector};

/// One decoded payload. Unknown payloads without the critical bit are skipped by the decoder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Payload {
    /// SA (33): proposals in the sender's order of preference.
    Sa(Vec<Proposal>),
    /// KE (34): Diffie-Hellman group number and public value.
    Ke {
        /// IANA transform type 4 number.
        group: u16,
        /// The public value, in the group's own encoding.
        data: Vec<u8>,
    },
    /// IDi (35).
    IdI(Id),
    /// IDr (36).
    IdR(Id),
    /// CERT (37).
    Cert(Cert),
    /// CERTREQ (38): encoding, then for X.509 the concatenated SHA-1 hashes of accepted CA public keys.
    CertReq {
        /// Certificate encoding (RFC 7296 §3.6).
        encoding: u8,
        /// Certification authority field.
        authorities: Vec<u8>,
    },
    /// AUTH (39).
    Auth {
        /// Authentication method number; 1 RSA, 2 PSK, 9-11 ECDSA, 14 digital signature (RFC 7427).
        method: u8,
        /// Authentication data.
        data: Vec<u8>,
    },
    /// Ni or Nr (40): 16 to 256 octets.
    Nonce(Vec<u8>),
    /// N (41).
    Notify(Notify),
    /// D (42).
    Delete(Delete),
    /// V (43).
    Vendor(Vec<u8>),
    /// TSi (44).
    TsI(Vec<TrafficSelector>),
    /// TSr (45).
    TsR(Vec<TrafficSelector>),
    /// CP (47).
    Config(ConfigPayload),
    /// EAP (48): a whole EAP packet (RFC 3748 §4).
    Eap(Vec<u8>),
}

/// CERT payload: an encoding number (4 = X.509 signature certificate) and its data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cert {
    /// Certificate encoding (RFC 7296 §3.6).
    pub encoding: u8,
    /// For encoding 4, one DER certificate.
    pub data: Vec<u8>,
}

impl Cert {
    /// X.509 Certificate - Signature.
    pub const X509_SIGNATURE: u8 = 4;
}

/// D payload (RFC 7296 §3.11).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Delete {
    /// The IKE SA that carries the message.
    Ike,
    /// The sender's inbound ESP SPIs.
    Esp(Vec<EspSpi>),
    /// AH or unknown protocol: ignored.
    Other(u8),
}

/// Any SPI a proposal or notification may carry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spi {
    /// None: the SPI size field is zero.
    None,
    /// Of an IKE SA.
    Ike(IkeSpi),
    /// Of an ESP SA.
    Esp(EspSpi),
}
