//! Damaged files of every format: refused or taken, never a panic.
#![expect(clippy::expect_used, reason = "a test stops at the first surprise")]
use std::path::Path;

use evenkeel_profile::{FileProblem, Secret, import, parse_toml};

fn data(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).expect(name)
}

/// Marsaglia's xorshift: a fixed sequence, so that a failure can be had again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(sides.max(1)).expect("small")).expect("small")
    }
}

/// A few bytes changed, doubled or cut out.
fn damage(bytes: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut damaged = bytes.to_vec();
    for _ in 0..=dice.roll(4) {
        let at = dice.roll(damaged.len());
        match dice.roll(4) {
            0 => damaged.truncate(at),
            1 => damaged.insert(at, u8::try_from(dice.roll(256)).expect("a byte")),
            2 => {
                if let Some(byte) = damaged.get_mut(at) {
                    *byte ^= 1 << dice.roll(8);
                }
            }
            _ => {
                let end = (at + dice.roll(40)).min(damaged.len());
                let piece = damaged.get(at..end).map(<[u8]>::to_vec).unwrap_or_default();
                damaged.splice(at..at, piece);
            }
        }
    }
    damaged
}

fn feed(bytes: &[u8]) {
    let secret = Secret::new("sesame");
    let file = Path::new("x");
    // Whether they are taken is not the question here.
    let _ = parse_toml(file, bytes, Some(&secret), &mut |name| {
        let known = ["ca.crt", "alice.crt", "alice.key"].contains(&name);
        let missing = || Err(FileProblem::Io(std::io::ErrorKind::NotFound));
        (name.into(), if known { Ok(data(name)) } else { missing() })
    });
    let _ = import::mobileconfig::parse(file, bytes, None);
    let _ = import::sswan::parse(file, bytes, None);
}

#[test]
fn damaged_files_never_panic() {
    let toml = r#"name = "Lab"
gateway = "198.51.100.10"
gateway_ports = { udp = 4500 }
[auth]
method = "certificate"
certificate = "alice.crt"
key = "alice.key"
[trust]
ca = ["ca.crt"]
[tunnel]
remote_ts = ["10.10.0.0/16", "2001:db8::/32"]
dns = ["10.0.0.1"]
mtu = 1400
[timers]
dpd_s = 10
"#;
    let sswan = r#"{"uuid":"x","name":"O","type":"ikev2-eap","remote":{"addr":"gw","port":4500},"local":{"eap_id":"a"},
        "split-tunneling":{"subnets":["10.0.0.0-10.0.3.7","::/0"]},"mtu":1400,"ike-proposal":"aes256-sha256-modp2048"}"#;
    let signed = data("signed.mobileconfig");
    let start = signed.windows(5).position(|w| w == b"<?xml").expect("the plist inside");
    let plain = signed.get(start..).and_then(|rest| {
        let end = rest.windows(8).position(|w| w == b"</plist>")? + 8;
        rest.get(..end)
    });
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for seed in [toml.as_bytes(), sswan.as_bytes(), &signed, plain.expect("the plist")] {
        feed(seed);
        for _ in 0..400 {
            feed(&damage(seed, &mut dice));
        }
    }
}

#[test]
fn nesting_without_end_does_not_overflow_the_stack() {
    for open in ["[", "{\"a\":", "<array>", "a=[", "[a."] {
        let text = open.repeat(100_000);
        feed(text.as_bytes());
        feed(format!("x = {text}").as_bytes());
        feed(format!("<plist>{text}").as_bytes());
    }
    feed(format!("x = {}", "[".repeat(500_000)).as_bytes());
    feed("a.".repeat(400_000).as_bytes());
}
