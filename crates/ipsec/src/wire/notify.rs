//! Notify payload (RFC 7296 §3.10) and the notify message types by name.

use std::fmt;

use super::reader::Reader;
use super::{DecodeError, Protocol, Spi};

/// A notification.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notify {
    /// Protocol of the SA concerned; `Protocol::Other(0)` when the field is zero.
    pub protocol: Protocol,
    /// SPI of the SA concerned.
    pub spi: Spi,
    /// Message type.
    pub kind: NotifyType,
    /// Notification data.
    pub data: Vec<u8>,
}

macro_rules! notify_types {
    ($($name:ident = $num:literal, $text:literal;)*) => {
        /// Notify message types (IANA "IKEv2 Notify Message Types"); below 16384 they are errors. From 40960 on they are of
        /// private use: those here belong to docs/delayed-check.md, and mean that only beside its magic.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum NotifyType {
            $(#[doc = concat!($text, " (", stringify!($num), ").")] $name,)*
            /// A type without a name here.
            Other(u16),
        }

        impl NotifyType {
            /// The number on the wire.
            #[must_use]
            pub fn number(self) -> u16 {
                match self { $(Self::$name => $num,)* Self::Other(n) => n }
            }

            /// The registered name, or `None` for a type without one here.
            #[must_use]
            pub fn name(self) -> Option<&'static str> {
                match self { $(Self::$name => Some($text),)* Self::Other(_) => None }
            }

            /// From the number on the wire.
            #[must_use]
            pub fn from_number(n: u16) -> Self {
                match n { $($num => Self::$name,)* n => Self::Other(n) }
            }
        }
    };
}

notify_types! {
    UnsupportedCriticalPayload = 1, "UNSUPPORTED_CRITICAL_PAYLOAD";
    InvalidIkeSpi = 4, "INVALID_IKE_SPI";
    InvalidMajorVersion = 5, "INVALID_MAJOR_VERSION";
    InvalidSyntax = 7, "INVALID_SYNTAX";
    InvalidMessageId = 9, "INVALID_MESSAGE_ID";
    InvalidSpi = 11, "INVALID_SPI";
    NoProposalChosen = 14, "NO_PROPOSAL_CHOSEN";
    InvalidKePayload = 17, "INVALID_KE_PAYLOAD";
    AuthenticationFailed = 24, "AUTHENTICATION_FAILED";
    SinglePairRequired = 34, "SINGLE_PAIR_REQUIRED";
    NoAdditionalSas = 35, "NO_ADDITIONAL_SAS";
    InternalAddressFailure = 36, "INTERNAL_ADDRESS_FAILURE";
    FailedCpRequired = 37, "FAILED_CP_REQUIRED";
    TsUnacceptable = 38, "TS_UNACCEPTABLE";
    InvalidSelectors = 39, "INVALID_SELECTORS";
    UnacceptableAddresses = 40, "UNACCEPTABLE_ADDRESSES";
    UnexpectedNatDetected = 41, "UNEXPECTED_NAT_DETECTED";
    UseAssignedHoa = 42, "USE_ASSIGNED_HoA";
    TemporaryFailure = 43, "TEMPORARY_FAILURE";
    ChildSaNotFound = 44, "CHILD_SA_NOT_FOUND";
    InvalidGroupId = 45, "INVALID_GROUP_ID";
    AuthorizationFailed = 46, "AUTHORIZATION_FAILED";
    InitialContact = 16384, "INITIAL_CONTACT";
    SetWindowSize = 16385, "SET_WINDOW_SIZE";
    AdditionalTsPossible = 16386, "ADDITIONAL_TS_POSSIBLE";
    IpcompSupported = 16387, "IPCOMP_SUPPORTED";
    NatDetectionSourceIp = 16388, "NAT_DETECTION_SOURCE_IP";
    NatDetectionDestinationIp = 16389, "NAT_DETECTION_DESTINATION_IP";
    Cookie = 16390, "COOKIE";
    UseTransportMode = 16391, "USE_TRANSPORT_MODE";
    HttpCertLookupSupported = 16392, "HTTP_CERT_LOOKUP_SUPPORTED";
    RekeySa = 16393, "REKEY_SA";
    EspTfcPaddingNotSupported = 16394, "ESP_TFC_PADDING_NOT_SUPPORTED";
    NonFirstFragmentsAlso = 16395, "NON_FIRST_FRAGMENTS_ALSO";
    MobikeSupported = 16396, "MOBIKE_SUPPORTED";
    AdditionalIp4Address = 16397, "ADDITIONAL_IP4_ADDRESS";
    AdditionalIp6Address = 16398, "ADDITIONAL_IP6_ADDRESS";
    NoAdditionalAddresses = 16399, "NO_ADDITIONAL_ADDRESSES";
    UpdateSaAddresses = 16400, "UPDATE_SA_ADDRESSES";
    Cookie2 = 16401, "COOKIE2";
    NoNatsAllowed = 16402, "NO_NATS_ALLOWED";
    AuthLifetime = 16403, "AUTH_LIFETIME";
    MultipleAuthSupported = 16404, "MULTIPLE_AUTH_SUPPORTED";
    AnotherAuthFollows = 16405, "ANOTHER_AUTH_FOLLOWS";
    RedirectSupported = 16406, "REDIRECT_SUPPORTED";
    Redirect = 16407, "REDIRECT";
    RedirectedFrom = 16408, "REDIRECTED_FROM";
    TicketLtOpaque = 16409, "TICKET_LT_OPAQUE";
    TicketRequest = 16410, "TICKET_REQUEST";
    TicketAck = 16411, "TICKET_ACK";
    TicketNack = 16412, "TICKET_NACK";
    TicketOpaque = 16413, "TICKET_OPAQUE";
    LinkId = 16414, "LINK_ID";
    UseWespMode = 16415, "USE_WESP_MODE";
    RohcSupported = 16416, "ROHC_SUPPORTED";
    EapOnlyAuthentication = 16417, "EAP_ONLY_AUTHENTICATION";
    ChildlessIkev2Supported = 16418, "CHILDLESS_IKEV2_SUPPORTED";
    QuickCrashDetection = 16419, "QUICK_CRASH_DETECTION";
    Ikev2MessageIdSyncSupported = 16420, "IKEV2_MESSAGE_ID_SYNC_SUPPORTED";
    Ikev2FragmentationSupported = 16430, "IKEV2_FRAGMENTATION_SUPPORTED";
    SignatureHashAlgorithms = 16431, "SIGNATURE_HASH_ALGORITHMS";
    CloneIkeSaSupported = 16432, "CLONE_IKE_SA_SUPPORTED";
    CloneIkeSa = 16433, "CLONE_IKE_SA";
    Puzzle = 16434, "PUZZLE";
    UsePpk = 16435, "USE_PPK";
    PpkIdentity = 16436, "PPK_IDENTITY";
    NoPpkAuth = 16437, "NO_PPK_AUTH";
    IntermediateExchangeSupported = 16438, "INTERMEDIATE_EXCHANGE_SUPPORTED";
    AdditionalKeyExchange = 16441, "ADDITIONAL_KEY_EXCHANGE";
    UseAggfrag = 16442, "USE_AGGFRAG";
    DelayedCheckSupported = 60931, "DELAYED_CHECK_SUPPORTED";
    DelayedCheck = 60932, "DELAYED_CHECK";
}

impl NotifyType {
    /// Whether the type reports an error (RFC 7296 §3.10.1).
    #[must_use]
    pub fn is_error(self) -> bool {
        self.number() < 16384
    }
}

impl fmt::Display for NotifyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "notify type {}", self.number()),
        }
    }
}

impl Notify {
    /// A notification about the IKE SA or the message itself: no protocol, no SPI.
    #[must_use]
    pub fn new(kind: NotifyType, data: Vec<u8>) -> Self {
        Self { protocol: Protocol::Other(0), spi: Spi::None, kind, data }
    }

    /// Reads the body of an N payload.
    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let protocol = Protocol::from_number(r.u8("protocol ID")?);
        let spi_size = r.u8("SPI size")?;
        let kind = NotifyType::from_number(r.u16("notify message type")?);
        let spi = Spi::decode(r, spi_size)?;
        Ok(Self { protocol, spi, kind, data: r.remainder().to_vec() })
    }

    /// Writes the body of an N payload.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.protocol.number(), self.spi.size()]);
        out.extend_from_slice(&self.kind.number().to_be_bytes());
        self.spi.encode(out);
        out.extend_from_slice(&self.data);
    }
}
