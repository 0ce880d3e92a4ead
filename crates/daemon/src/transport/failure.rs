//! Why there is no stream, or none any more.

use std::io;

use evenkeel_ipsec::wire::StreamError;
use evenkeel_reframer::Ended;

/// Why a stream could not be opened, or ended.
#[derive(Debug, thiserror::Error)]
pub enum StreamFailure {
    /// Nobody listens there, or a filter says so.
    #[error("the connection was refused")]
    Refused,
    /// No route leads there.
    #[error("the gateway can't be reached: {0}")]
    Unreachable(io::Error),
    /// Nobody answered in time; or what was sent was never acknowledged.
    #[error("no answer in time")]
    TimedOut,
    /// The connection was reset by the gateway, or by somebody between.
    #[error("the connection was reset")]
    Reset,
    /// The gateway closed the connection.
    #[error("the gateway closed the connection")]
    PeerClosed,
    /// The gateway sent what is no frame of IKE or ESP, or closed within one.
    #[error(transparent)]
    BadFrame(#[from] StreamError),
    /// TLS failed: the certificate is not to be trusted or for another name, or the peer speaks no TLS.
    #[error("TLS: {0}")]
    Tls(rustls::Error),
    /// This machine could not do its part.
    #[error("this machine: {0}")]
    Local(io::Error),
}

impl StreamFailure {
    /// What an error of opening the connection means.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the system has more to say than we can name")]
    pub(super) fn of_connecting(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => Self::Reset,
            io::ErrorKind::TimedOut => Self::TimedOut,
            io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::AddrNotAvailable => Self::Unreachable(error),
            _ => Self::Local(error),
        }
    }

    /// What an error on an open connection means.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the system has more to say than we can name")]
    pub(super) fn of_stream(error: io::Error) -> Self {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if let Some(tls) = tls {
            return Self::Tls(tls.clone());
        }
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
                Self::Reset
            }
            // With TLS, an end without a word of goodbye, which anyone on the way can forge.
            io::ErrorKind::UnexpectedEof => Self::PeerClosed,
            _ => Self::of_connecting(error),
        }
    }
}

impl From<Ended> for StreamFailure {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::PeerClosed => Self::PeerClosed,
            Ended::BadFrame(error) => Self::BadFrame(error),
            Ended::Failed(error) => Self::of_stream(error),
            Ended::Socket(error) => Self::Local(error),
        }
    }
}

/// Why there can be no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsSetupError {
    /// None of the certificates to trust is one.
    #[error("no certificate authority to trust")]
    NoRoots,
    /// The gateway is called what no certificate can say.
    #[error("{0:?} is no name for a certificate")]
    Name(String),
    /// The library refuses.
    #[error(transparent)]
    Library(#[from] rustls::Error),
}
