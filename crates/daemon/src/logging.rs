//! Structured logs: to standard error for whoever started the daemon, and into a bounded ring for `evenkeel log`.
//!
//! On a terminal a line is coloured and dated. Under journald (`JOURNAL_STREAM` is set) it starts with its syslog
//! priority (`<4>`, sd-daemon(3)) and has no date, because journald keeps both. Anywhere else it is plain text.

mod line;
mod ring;

use std::io::IsTerminal;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use line::JournalFormat;
pub use ring::{Entry, LogRing};

/// Installs the process's logger; call once. Events above `level` are dropped before they are formatted.
///
/// # Errors
/// When a logger is installed already.
pub fn init(level: LevelFilter, ring: &LogRing) -> Result<(), tracing_subscriber::util::TryInitError> {
    let terminal = std::io::stderr().is_terminal();
    let stderr = fmt::layer().with_writer(std::io::stderr).with_ansi(terminal);
    let stderr = if std::env::var_os("JOURNAL_STREAM").is_some() {
        stderr.event_format(JournalFormat).boxed()
    } else {
        stderr.boxed()
    };
    // zbus and rtnetlink narrate every message at debug: that drowns what the tunnel has to say.
    let own = tracing_subscriber::filter::Targets::new()
        .with_target("evenkeel", level)
        .with_default(level.min(LevelFilter::WARN));
    tracing_subscriber::registry().with(stderr).with(ring.layer()).with(own).try_init()
}
