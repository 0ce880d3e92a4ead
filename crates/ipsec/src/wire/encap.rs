//! UDP encapsulation of ESP and IKE on port 4500 (RFC 3948 §2).

/// Stands before every IKE message on port 4500, where an ESP packet has its SPI, which is never zero.
pub const NON_ESP_MARKER: [u8; 4] = [0; 4];

/// The one octet of a NAT keepalive.
pub const KEEPALIVE: u8 = 0xff;

/// SPI and sequence number.
const ESP_HEADER_LEN: usize = 8;

/// What the payload of a UDP datagram on port 4500 is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encapsulated<'a> {
    /// An IKE message, without its marker.
    Ike(&'a [u8]),
    /// An ESP packet, from its SPI on.
    Esp(&'a [u8]),
    /// A NAT keepalive: ignored, whoever sent it.
    Keepalive,
    /// Too short for any of these: ignored.
    Runt,
}

/// Tells apart what shares port 4500.
#[must_use]
pub fn classify(udp_payload: &[u8]) -> Encapsulated<'_> {
    if let Some(message) = udp_payload.strip_prefix(&NON_ESP_MARKER) {
        return Encapsulated::Ike(message);
    }
    match udp_payload {
        [KEEPALIVE] => Encapsulated::Keepalive,
        esp if esp.len() >= ESP_HEADER_LEN => Encapsulated::Esp(esp),
        _ => Encapsulated::Runt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marker_makes_it_an_ike_message_without_the_marker() {
        assert_eq!(classify(&[0, 0, 0, 0, 9, 8]), Encapsulated::Ike(&[9, 8]));
        assert_eq!(classify(&NON_ESP_MARKER), Encapsulated::Ike(&[]));
    }

    #[test]
    fn a_non_zero_spi_makes_it_esp() {
        let packet = [0, 0, 0, 1, 0, 0, 0, 1, 7];
        assert_eq!(classify(&packet), Encapsulated::Esp(&packet));
    }

    #[test]
    fn exactly_one_octet_of_ones_is_a_keepalive() {
        assert_eq!(classify(&[KEEPALIVE]), Encapsulated::Keepalive);
        assert_eq!(classify(&[KEEPALIVE; 2]), Encapsulated::Runt);
        assert_eq!(classify(&[0xfe]), Encapsulated::Runt);
    }

    #[test]
    fn what_is_too_short_for_a_header_is_a_runt() {
        for len in 0..NON_ESP_MARKER.len() {
            assert_eq!(classify(&NON_ESP_MARKER[..len]), Encapsulated::Runt);
        }
        for len in 2..ESP_HEADER_LEN {
            assert_eq!(classify(&[1; ESP_HEADER_LEN][..len]), Encapsulated::Runt);
        }
    }
}
