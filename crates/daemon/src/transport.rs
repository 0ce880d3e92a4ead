//! Ways to the gateway other than plain UDP, for networks that block it.
//!
//! [`StreamTransport`] is RFC 9329: IKE and ESP in one TCP connection, which may be wrapped in TLS. It ends in a UDP
//! socket that is handed to the data plane in the place of the one towards the gateway; `evenkeel_reframer` says why.
//! `docs/transports.md` describes what to expect of it.

mod failure;
mod stream;
mod tls;

pub use failure::{StreamFailure, TlsSetupError};
pub use stream::{CONNECT_TIMEOUT, StreamOptions, StreamTransport};
pub use tls::TlsClient;
