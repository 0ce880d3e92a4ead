//! Values with a text form of their own: SPIs and names of networks in hexadecimal, times by RFC 3339.
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// The SPI of one end of an IKE SA; in text 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IkeSpi(pub u64);

/// The SPI of one direction of a CHILD SA; in text 8 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EspSpi(pub u32);

/// Names a network that is remembered; in text 16 hexadecimal digits. It says nothing about the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NetworkId(pub u64);

/// A point in time, to the second; in text RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(u64);

impl Timestamp {
    /// Seconds since 1970. Times after the year 9999 become its end.
    pub fn from_unix(seconds: u64) -> Self {
        Self(seconds.min(253_402_300_799))
    }

    /// Seconds since 1970.
    pub fn unix(self) -> u64 {
        self.0
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        Self::from_unix(time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()))
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        UNIX_EPOCH.checked_add(Duration::from_secs(time.0)).unwrap_or(UNIX_EPOCH)
    }
}

impl fmt::Display for IkeSpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for EspSpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_seconds((*self).into()).fmt(f)
    }
}

impl FromStr for IkeSpi {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        hexadecimal(text, 16).map(Self).ok_or("an IKE SPI is 16 hexadecimal digits")
    }
}

impl FromStr for NetworkId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        hexadecimal(text, 16).map(Self).ok_or("a network's ID is 16 hexadecimal digits")
    }
}

impl FromStr for EspSpi {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let spi = hexadecimal(text, 8).and_then(|spi| u32::try_from(spi).ok());
        spi.map(Self).ok_or("an ESP SPI is 8 hexadecimal digits")
    }
}

impl FromStr for Timestamp {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        humantime::parse_rfc3339(text).map(Self::from).map_err(|_| "a time is RFC 3339, in UTC")
    }
}

fn hexadecimal(text: &str, digits: usize) -> Option<u64> {
    let whole = text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit());
    whole.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

/// The `String` conversions that serde goes through.
macro_rules! as_text {
    ($($type:ident),*) => {$(
        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }

        impl TryFrom<String> for $type {
            type Error = &'static str;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }
    )*};
}
as_text!(IkeSpi, EspSpi, NetworkId, Timestamp);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_back_as_they_were_written() {
        assert_eq!(IkeSpi(0x1f).to_string(), "000000000000001f");
        assert_eq!("000000000000001f".parse(), Ok(IkeSpi(0x1f)));
        assert_eq!("c0ffee01".parse(), Ok(EspSpi(0xc0ff_ee01)));
        assert_eq!(Timestamp::from_unix(1_800_000_000).to_string(), "2027-01-15T08:00:00Z");
        assert_eq!("2027-01-15T08:00:00Z".parse(), Ok(Timestamp::from_unix(1_800_000_000)));
    }

    #[test]
    fn odd_values_are_refused_and_no_time_panics() {
        assert!("+1".parse::<EspSpi>().is_err());
        assert!("1f".parse::<IkeSpi>().is_err());
        assert!("0123456789abcdefg".parse::<NetworkId>().is_err());
        assert!("yesterday".parse::<Timestamp>().is_err());
        assert_eq!(Timestamp::from_unix(u64::MAX).to_string(), "9999-12-31T23:59:59Z");
    }
}
