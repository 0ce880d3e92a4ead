//! A key of the machine in a file. The System keychain would hold it no safer from root, and it could
//! not be verified where this was written.

pub(super) use super::host_key::Sealer;
