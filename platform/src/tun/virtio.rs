//! `struct virtio_net_hdr`, which stands before every packet of a device with `IFF_VNET_HDR`
//! (linux/virtio_net.h). Ten bytes in the machine's byte order.

use std::io;

use super::{Offload, PartialChecksum, SegmentKind, Segmentation};

pub(super) const HEADER_LEN: usize = 10;

const FLAG_NEEDS_CSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
/// The superpacket had CWR set. Segmentation handles that flag by itself.
const GSO_ECN: u8 = 0x80;

/// What the kernel left to us. Its `hdr_len` is only a hint and is not looked at.
pub(super) fn decode(header: [u8; HEADER_LEN]) -> io::Result<Offload> {
    let [flags, gso_type, _, _, size0, size1, start0, start1, offset0, offset1] = header;
    let checksum = (flags & FLAG_NEEDS_CSUM != 0).then(|| PartialChecksum {
        start: u16::from_ne_bytes([start0, start1]),
        offset: u16::from_ne_bytes([offset0, offset1]),
    });
    let kind = match gso_type & !GSO_ECN {
        GSO_NONE => return Ok(Offload { checksum, segmentation: None }),
        GSO_TCPV4 => SegmentKind::TcpV4,
        GSO_TCPV6 => SegmentKind::TcpV6,
        GSO_UDP_L4 => SegmentKind::Udp,
        _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "segmentation of an unknown kind")),
    };
    let size = u16::from_ne_bytes([size0, size1]);
    if size == 0 || checksum.is_none() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "superpacket without size or checksum"));
    }
    Ok(Offload { checksum, segmentation: Some(Segmentation { kind, size }) })
}

/// What we leave to the kernel, for a packet that begins with `first`.
pub(super) fn encode(offload: Offload, first: usize) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    if let Some(PartialChecksum { start, offset }) = offload.checksum {
        header[0] = FLAG_NEEDS_CSUM;
        header[6..8].copy_from_slice(&start.to_ne_bytes());
        header[8..10].copy_from_slice(&offset.to_ne_bytes());
    }
    if let Some(Segmentation { kind, size }) = offload.segmentation {
        header[1] = match kind {
            SegmentKind::TcpV4 => GSO_TCPV4,
            SegmentKind::TcpV6 => GSO_TCPV6,
            SegmentKind::Udp => GSO_UDP_L4,
        };
        // How much the kernel copies into its linear area: the headers, which are our first slice.
        header[2..4].copy_from_slice(&u16::try_from(first).unwrap_or(u16::MAX).to_ne_bytes());
        header[4..6].copy_from_slice(&size.to_ne_bytes());
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        let checksum = Some(PartialChecksum { start: 40, offset: 16 });
        for kind in [SegmentKind::TcpV4, SegmentKind::TcpV6, SegmentKind::Udp] {
            let offload = Offload { checksum, segmentation: Some(Segmentation { kind, size: 1378 }) };
            assert_eq!(decode(encode(offload, 72)).unwrap(), offload);
        }
        let offload = Offload { checksum, segmentation: None };
        assert_eq!(decode(encode(offload, 72)).unwrap(), offload);
        assert_eq!(decode([0; HEADER_LEN]).unwrap(), Offload::default());
    }

    #[test]
    fn the_ecn_bit_is_not_part_of_the_kind() {
        let offload = Offload {
            checksum: Some(PartialChecksum { start: 20, offset: 16 }),
            segmentation: Some(Segmentation { kind: SegmentKind::TcpV4, size: 1 }),
        };
        let mut header = encode(offload, 40);
        header[1] |= GSO_ECN;
        assert_eq!(decode(header).unwrap(), offload);
    }

    #[test]
    fn a_superpacket_that_cannot_be_cut_is_invalid_data() {
        for header in [
            [1, 1, 0, 0, 0, 0, 20, 0, 16, 0],
            [0, 1, 0, 0, 9, 0, 0, 0, 0, 0],
            [1, 3, 0, 0, 9, 0, 20, 0, 16, 0],
        ] {
            assert_eq!(decode(header).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }
}
