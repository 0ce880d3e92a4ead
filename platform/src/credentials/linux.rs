//! A key of the machine in a file, like `systemd-creds` where no TPM is used.

pub(super) use super::host_key::Sealer;
