//! What the kernel has counted.

use std::{fs, time::Duration};

use anyhow::Context;

use crate::{Host, Network, wait};

/// One of the kernel's counters of this host: `("Udp", "InDatagrams")`.
pub fn counter(host: &Host, protocol: &str, name: &str) -> anyhow::Result<u64> {
    let text = host.run(|| fs::read_to_string("/proc/thread-self/net/snmp"))?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(protocol)?.strip_prefix(": "));
    let (names, values) = (lines.next().context("names")?, lines.next().context("values")?);
    let mut pairs = names.split_whitespace().zip(values.split_whitespace());
    let (_, count) = pairs.find(|(one, _)| *one == name).with_context(|| format!("no {protocol} {name}"))?;
    Ok(count.parse()?)
}

/// Waits until every datagram that left the gateway has been read by the first client; returns how many. Only for
/// networks in which nobody else sends the client anything, and for sockets that stay open.
pub fn every_datagram_arrived(network: &Network) -> anyhow::Result<u64> {
    let mut last = (0, 0);
    wait::until("the last datagram to be read", Duration::from_secs(5), || {
        let sent = counter(&network.gateway, "Udp", "OutDatagrams").ok()?;
        last = (sent, counter(network.client(), "Udp", "InDatagrams").ok()?);
        (last.0 == last.1).then_some(sent)
    })
    .with_context(|| format!("the gateway sent {} datagrams, the client read {}", last.0, last.1))
}
