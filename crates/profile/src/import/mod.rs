//! Profiles of other clients.
//!
//! Each importer is a pure function from bytes to a [`Loaded`](crate::Loaded) profile; what the file asks
//! for and Evenkeel can't do is listed as [`Warning::NotHonoured`](crate::Warning::NotHonoured).
use std::path::Path;

mod draft;
pub mod mobileconfig;
mod plist_tree;
mod range;
mod signed;
pub mod sswan;

/// The formats that profiles come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Evenkeel's own.
    Toml,
    /// Apple configuration profile.
    MobileConfig,
    /// strongSwan's Android client.
    Sswan,
}

impl Format {
    /// By what the bytes look like, else by the file's name.
    pub fn detect(path: &Path, bytes: &[u8]) -> Self {
        let start = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
        let extension = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
        if start.starts_with(b"<") || start.starts_with(b"bplist") || signed::looks_signed(bytes) {
            Self::MobileConfig
        } else if start.starts_with(b"{") {
            Self::Sswan
        } else {
            match extension.as_deref() {
                Some("mobileconfig") => Self::MobileConfig,
                Some("sswan") => Self::Sswan,
                _ => Self::Toml,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_shows_in_the_bytes_and_then_in_the_name() {
        let detect = |name: &str, bytes: &[u8]| Format::detect(Path::new(name), bytes);
        assert_eq!(detect("x", b"\xef\xbb\xbf <?xml"), Format::MobileConfig);
        assert_eq!(detect("x", b"bplist00"), Format::MobileConfig);
        assert_eq!(detect("x", b" {\"uuid\""), Format::Sswan);
        assert_eq!(detect("x.sswan", b""), Format::Sswan);
        assert_eq!(detect("x.MobileConfig", b""), Format::MobileConfig);
        assert_eq!(detect("x.toml", b"name = 1"), Format::Toml);
    }
}
