//! Exact sizes of ESP in UDP (RFC 4303 §2, RFC 3948 §2.1).
//!
//! ```text
//! | IP 20 or 40 | UDP 8 | SPI 4, sequence 4 | IV | inner packet, padding, pad length 1, next header 1 | ICV |
//!                                                 ^------ a multiple of the cipher's alignment -----^
//! ```
//! Nothing here is a constant of the field ("78 bytes or so"): padding depends on the inner length, so the
//! overhead of one packet is not the overhead of another.

/// Length of a UDP header.
const UDP_HEADER: usize = 8;
/// SPI and sequence number (RFC 4303 §2). An extended sequence number's high half is never sent.
const ESP_HEADER: usize = 8;
/// Pad length and next header, which are encrypted with the payload (RFC 4303 §2.4).
const ESP_TRAILER: usize = 2;
/// The pad length and next header fields end on a 4-byte boundary, whatever the cipher (RFC 4303 §2.4).
const ESP_ALIGNMENT: usize = 4;
/// What WireGuard adds to an inner packet: message type, receiver and counter, and the tag (WireGuard §5.4.6). A peer that
/// pads to 16 bytes never pads beyond the inner MTU.
const WIREGUARD: usize = 16 + 16;
/// The least MTU that an IPv6 link may have (RFC 8200 §5).
pub const IPV6_MIN_MTU: u16 = 1280;
/// What a path is taken to carry while nothing is known about it: Ethernet's 1500.
pub const DEFAULT_PATH_MTU: u16 = 1500;

/// Address family of the outer packets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4, without options.
    V4,
    /// IPv6, without extension headers.
    V6,
}

impl Family {
    /// Length of the IP header.
    #[must_use]
    pub const fn header_len(self) -> usize {
        match self {
            Self::V4 => 20,
            Self::V6 => 40,
        }
    }
}

impl From<std::net::IpAddr> for Family {
    fn from(address: std::net::IpAddr) -> Self {
        match address {
            std::net::IpAddr::V4(_) => Self::V4,
            std::net::IpAddr::V6(_) => Self::V6,
        }
    }
}

/// What a negotiated ESP suite adds to a packet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct EspShape {
    /// Bytes of IV carried in each packet: 8 for the AEAD ciphers, 16 for AES-CBC.
    pub iv: usize,
    /// Block size of the cipher, 1 for a stream cipher.
    pub block: usize,
    /// Bytes of integrity check value: an AEAD's tag or a truncated HMAC.
    pub icv: usize,
}

impl EspShape {
    /// AES-GCM with a 16-byte tag (RFC 4106) and ChaCha20-Poly1305 (RFC 7634): both look alike.
    pub const AEAD: Self = Self { iv: 8, block: 1, icv: 16 };

    /// AES-CBC (RFC 3602) with an HMAC truncated to `icv` bytes (RFC 4868 §2.3).
    #[must_use]
    pub const fn aes_cbc(icv: usize) -> Self {
        Self { iv: 16, block: 16, icv }
    }

    const fn alignment(self) -> usize {
        if self.block > ESP_ALIGNMENT { self.block } else { ESP_ALIGNMENT }
    }

    /// Length of the ESP packet that carries an inner packet of `inner` bytes, from SPI to ICV.
    #[must_use]
    pub const fn esp_len(self, inner: usize) -> usize {
        ESP_HEADER + self.iv + (inner + ESP_TRAILER).next_multiple_of(self.alignment()) + self.icv
    }

    /// The largest inner packet whose ESP packet has at most `esp` bytes.
    #[must_use]
    pub const fn largest_inner(self, esp: usize) -> usize {
        let encrypted = esp.saturating_sub(ESP_HEADER + self.iv + self.icv);
        (encrypted - encrypted % self.alignment()).saturating_sub(ESP_TRAILER)
    }
}

/// Everything that decides how a packet looks on the path: the suite and what is around it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Encapsulation {
    /// The outer address family.
    pub family: Family,
    /// The suite of the CHILD SA.
    pub esp: EspShape,
}

impl Encapsulation {
    /// Length on the path, outer IP header included, of an inner packet of `inner` bytes.
    #[must_use]
    pub const fn outer_len(self, inner: usize) -> usize {
        self.family.header_len() + UDP_HEADER + self.esp.esp_len(inner)
    }

    /// What this inner length costs in bytes on the path.
    #[must_use]
    pub const fn overhead(self, inner: usize) -> usize {
        self.outer_len(inner) - inner
    }

    /// The largest inner packet that crosses a path of `path_mtu` bytes in one piece, 0 if none does.
    #[must_use]
    pub fn inner_mtu(self, path_mtu: u16) -> u16 {
        let esp = usize::from(path_mtu).saturating_sub(self.family.header_len() + UDP_HEADER);
        // Always below path_mtu, so the conversion can't fail.
        u16::try_from(self.esp.largest_inner(esp)).unwrap_or(path_mtu)
    }

    /// The MTU to give the tunnel interface: [`inner_mtu`](Self::inner_mtu), but not below what IPv6 needs.
    ///
    /// An interface below 1280 loses IPv6 (RFC 8200 §5), and on Linux some of its settings with it. On a narrower path the
    /// data plane cuts what is too long, or tells its sender.
    #[must_use]
    pub fn interface_mtu(self, path_mtu: u16) -> u16 {
        self.inner_mtu(path_mtu).max(IPV6_MIN_MTU)
    }
}

/// The largest inner packet that crosses a path of `path_mtu` bytes as one WireGuard datagram, 0 if none does.
#[must_use]
pub fn wireguard_inner_mtu(outer: Family, path_mtu: u16) -> u16 {
    let inner = usize::from(path_mtu).saturating_sub(outer.header_len() + UDP_HEADER + WIREGUARD);
    // Never above path_mtu, so the conversion can't fail.
    u16::try_from(inner).unwrap_or(path_mtu)
}

/// The largest TCP segment (RFC 6691) whose packet of this family has at most `inner_mtu` bytes. TCP options count
/// against the segment, so nothing is taken off for them.
#[must_use]
pub fn tcp_mss(inner: Family, inner_mtu: u16) -> u16 {
    const TCP_HEADER: usize = 20;
    let mss = usize::from(inner_mtu).saturating_sub(inner.header_len() + TCP_HEADER);
    u16::try_from(mss).unwrap_or(inner_mtu)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPES: [EspShape; 5] = [
        EspShape::AEAD,
        EspShape::aes_cbc(12),
        EspShape::aes_cbc(16),
        EspShape::aes_cbc(24),
        EspShape::aes_cbc(32),
    ];

    fn every_encapsulation() -> impl Iterator<Item = Encapsulation> {
        [Family::V4, Family::V6]
            .into_iter()
            .flat_map(|family| SHAPES.into_iter().map(move |esp| Encapsulation { family, esp }))
    }

    #[test]
    fn ethernet_with_aes_gcm_over_ipv4_carries_1438_bytes() {
        // 1500 - 20 - 8 = 1472 of UDP payload; - 8 - 8 - 16 = 1440, a multiple of 4; - 2 of trailer.
        let gcm = Encapsulation { family: Family::V4, esp: EspShape::AEAD };
        assert_eq!(gcm.inner_mtu(1500), 1438);
        assert_eq!(gcm.outer_len(1438), 1500);
        assert_eq!(gcm.outer_len(1439), 1504);
    }

    #[test]
    fn ethernet_with_aes_cbc_sha256_over_ipv6_carries_1406_bytes() {
        // 1500 - 40 - 8 - 8 - 16 - 16 = 1412; 88 blocks are 1408; - 2.
        let cbc = Encapsulation { family: Family::V6, esp: EspShape::aes_cbc(16) };
        assert_eq!(cbc.inner_mtu(1500), 1406);
        assert_eq!(cbc.outer_len(1406), 1496);
        assert_eq!(cbc.outer_len(1407), 1512);
    }

    #[test]
    fn the_inner_mtu_is_the_largest_that_fits_for_every_path() {
        for encapsulation in every_encapsulation() {
            for path_mtu in 200..=9216 {
                let inner = usize::from(encapsulation.inner_mtu(path_mtu));
                assert!(
                    encapsulation.outer_len(inner) <= usize::from(path_mtu),
                    "{encapsulation:?} {path_mtu}"
                );
                assert!(
                    encapsulation.outer_len(inner + 1) > usize::from(path_mtu),
                    "{encapsulation:?} {path_mtu}"
                );
            }
        }
    }

    #[test]
    fn padding_fills_exactly_to_the_alignment() {
        for esp in SHAPES {
            let alignment = esp.block.max(4);
            for inner in 0..200 {
                let encrypted = esp.esp_len(inner) - 8 - esp.iv - esp.icv;
                assert_eq!(encrypted % alignment, 0);
                let padding = encrypted - inner - 2;
                assert!(padding < alignment, "{esp:?} pads {inner} by {padding}");
            }
        }
    }

    #[test]
    fn a_path_too_narrow_for_anything_carries_nothing() {
        for encapsulation in every_encapsulation() {
            for path_mtu in 0..60 {
                assert_eq!(encapsulation.inner_mtu(path_mtu), 0);
            }
        }
    }

    #[test]
    fn the_interface_stays_at_1280_on_a_narrower_path() {
        let gcm = Encapsulation { family: Family::V4, esp: EspShape::AEAD };
        assert_eq!(gcm.interface_mtu(1280), 1280);
        assert_eq!(gcm.interface_mtu(1500), 1438);
    }

    #[test]
    fn mss_leaves_room_for_both_headers() {
        assert_eq!(tcp_mss(Family::V4, 1438), 1398);
        assert_eq!(tcp_mss(Family::V6, 1438), 1378);
        assert_eq!(tcp_mss(Family::V6, 40), 0);
    }
}
