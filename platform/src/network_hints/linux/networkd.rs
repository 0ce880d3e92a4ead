//! systemd-networkd writes what a link's DHCP server and routers said to a file of assignments for each link
//! (`sd-network`; `CAPTIVE_PORTAL` since release 254).

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

const LINKS: &str = "run/systemd/netif/links";
/// Links that are looked at.
const MAX_LINKS: usize = 64;
/// Bytes of a link's file that are read; they have a few hundred.
const MAX_FILE: u64 = 64 << 10;

/// What each link's file says, in no particular order.
pub(super) fn portal_apis(root: &Path) -> Vec<String> {
    let Ok(links) = fs::read_dir(root.join(LINKS)) else { return Vec::new() };
    links.flatten().take(MAX_LINKS).filter_map(|link| captive_portal(&read(&link.path())?)).collect()
}

fn read(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The value of `CAPTIVE_PORTAL`, if the file has one.
fn captive_portal(file: &str) -> Option<String> {
    let value = file.lines().rev().find_map(|line| line.strip_prefix("CAPTIVE_PORTAL="))?;
    let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    (!value.is_empty()).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# This is private data. Do not parse.\nADMIN_STATE=configured\nOPER_STATE=routable\n\
                        CAPTIVE_PORTAL=https://portal.example.com/api\nDOMAINS=\nLLMNR=yes\n";

    #[test]
    fn a_links_file_is_read_for_the_one_value() {
        assert_eq!(captive_portal(FILE).as_deref(), Some("https://portal.example.com/api"));
        assert_eq!(captive_portal(&FILE.replace("CAPTIVE_PORTAL", "XCAPTIVE_PORTAL")), None);
        assert_eq!(captive_portal("CAPTIVE_PORTAL=\n"), None);
        assert_eq!(
            captive_portal("CAPTIVE_PORTAL=\"https://a.example\"").as_deref(),
            Some("https://a.example")
        );
        assert_eq!(captive_portal("CAPTIVE_PORTAL"), None);
    }

    #[test]
    fn every_link_is_asked_and_none_need_be_there() {
        let root = tempfile::tempdir().unwrap();
        assert!(portal_apis(root.path()).is_empty());
        let links = root.path().join(LINKS);
        fs::create_dir_all(links.join("3")).unwrap();
        fs::write(links.join("1"), "OPER_STATE=carrier\n").unwrap();
        fs::write(links.join("2"), FILE).unwrap();
        fs::write(links.join("4"), [0xff, 0xfe, b'\n']).unwrap();
        assert_eq!(portal_apis(root.path()), ["https://portal.example.com/api"]);
    }
}
