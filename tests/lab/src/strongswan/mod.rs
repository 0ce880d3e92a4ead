//! strongSwan's charon on a host, with its user-space data path.

mod charon;
mod config;

pub use charon::Charon;
pub use config::{Auth, Config, Connection, Pool};
