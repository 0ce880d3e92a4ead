//! `evenkeel status`, once or continually.
use std::collections::BTreeMap;
use std::time::Instant;

use evenkeel_ipc::{Client, Notification, Status};
use evenkeel_platform::ipc_transport::Stream;

use crate::args;
use crate::daemon;
use crate::exit::{Exit, Failure};
use crate::explain::Explanation;
use crate::output::Output;
use crate::view::{self, Rates};

pub(super) async fn run(
    mut client: Client<Stream>,
    request: args::Status,
    output: &mut Output,
) -> Result<(), Failure> {
    let status = daemon::answer(client.status(request.watch)).await?;
    if request.watch {
        return watch(client, status, request.json, output).await;
    }
    if request.json {
        return output.line(&super::json(&status, true)?).map_err(Failure::from);
    }
    let text = view::status(&status, None, super::now(), output.canvas());
    output.print(&text).map_err(Failure::from)
}

/// Shows each status as it comes, in place where a person watches, until Ctrl-C or the daemon's end.
async fn watch(
    mut client: Client<Stream>,
    first: Status,
    json: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut meter = Meter::default();
    let mut status = first;
    loop {
        let rates = meter.update(&status, Instant::now());
        if json {
            output.line(&super::json(&status, false)?)?;
        } else {
            let text = view::status(&status, rates, super::now(), output.canvas());
            draw(&text, output)?;
        }
        output.flush()?;
        status = tokio::select! {
            notification = client.next_notification() => match notification {
                Ok(Some(Notification::Status(status))) => status,
                Ok(None) => return Err(ended()),
                Err(error) => return daemon::answer(async { Err(error) }).await,
            },
            _ = tokio::signal::ctrl_c() => {
                return Ok(());
            }
        };
    }
}

fn draw(text: &str, output: &mut Output) -> Result<(), Failure> {
    if output.is_interactive() {
        // Home, each line cleared to its end, the rest of the screen cleared: no flicker.
        let lines: String = text.lines().map(|line| format!("{line}\x1b[K\n")).collect();
        let hint = "\x1b[K\nCtrl-C ends this view, not the connection.\x1b[K\n";
        output.print(&format!("\x1b[H{lines}{hint}\x1b[J"))?;
    } else {
        output.print(text)?;
        output.print("\n")?;
    }
    Ok(())
}

fn ended() -> Failure {
    Failure::new(
        Exit::DaemonNotRunning,
        Explanation::new("The Evenkeel daemon was stopped.", "It closed the connection to this view.", ""),
    )
}

/// Turns counters into rates. Counters are kept for each SA, since a rekey begins new ones at zero.
#[derive(Default)]
struct Meter {
    last: Option<(Instant, Counters)>,
}

/// Bytes received and sent, by SPI.
type Counters = BTreeMap<u32, (u64, u64)>;

impl Meter {
    fn update(&mut self, status: &Status, now: Instant) -> Option<Rates> {
        let counters: Counters =
            status.child_sas.iter().map(|sa| (sa.spi_in.0, (sa.bytes_in, sa.bytes_out))).collect();
        let rates = self.last.as_ref().and_then(|(then, before)| {
            let millis = u64::try_from(now.duration_since(*then).as_millis()).ok().filter(|ms| *ms > 0)?;
            let grown = |pick: fn(&(u64, u64)) -> u64| {
                let growth = counters.iter().map(|(spi, counter)| {
                    let start = before.get(spi).map_or(0, pick);
                    pick(counter).saturating_sub(start)
                });
                growth.fold(0, u64::saturating_add).saturating_mul(1000) / millis
            };
            Some(Rates { received: grown(|c| c.0), sent: grown(|c| c.1) })
        });
        self.last = Some((now, counters));
        rates
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use evenkeel_ipc::{ChildSa, EspSpi, Timestamp};

    use super::*;

    fn status(sas: &[(u32, u64, u64)]) -> Status {
        let mut status = Status::off(Timestamp::from_unix(0));
        status.child_sas = sas
            .iter()
            .map(|&(spi, bytes_in, bytes_out)| ChildSa {
                spi_in: EspSpi(spi),
                spi_out: EspSpi(0),
                suite: String::new(),
                ts_i: Vec::new(),
                ts_r: Vec::new(),
                bytes_in,
                bytes_out,
                packets_in: 0,
                packets_out: 0,
                drops: BTreeMap::new(),
                rekey_in_s: None,
            })
            .collect();
        status
    }

    #[test]
    fn rates_survive_a_rekey() {
        let start = Instant::now();
        let mut meter = Meter::default();
        assert_eq!(meter.update(&status(&[(1, 1_000_000, 500)]), start), None);
        let later = start + Duration::from_secs(2);
        let rekeyed = status(&[(1, 1_002_000, 500), (2, 4000, 0)]);
        assert_eq!(meter.update(&rekeyed, later), Some(Rates { received: 3000, sent: 0 }));
        assert_eq!(meter.update(&status(&[(2, 4000, 0)]), later), None, "no time has passed");
    }
}
