//! What carrying data allocates, in a test program whose global allocator is
//! [`CountingAllocator`](evenkeel_platform::allocations::CountingAllocator).

use std::{
    io::{Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream},
    panic::resume_unwind,
    thread,
    time::Duration,
};

use anyhow::ensure;
use evenkeel_platform::allocations::allocations;

use crate::Host;

/// Port of the listener that the data goes to.
const PORT: u16 = 7;

/// Sends 80 MiB in one TCP connection from `client` to `server`, which is reached at `address`, and fails if anything in
/// this process allocates once they flow. `packets_sent` reads how many packets the client's data plane has sent.
pub fn none_while_sending(
    client: &Host,
    server: &Host,
    address: IpAddr,
    packets_sent: impl Fn() -> u64,
) -> anyhow::Result<()> {
    ensure!(allocations() > 0, "the allocator of this program does not count");
    let listener = server.run(|| TcpListener::bind((address, PORT)))?;
    thread::scope(|scope| {
        let reader = scope.spawn(move || -> anyhow::Result<()> {
            let mut buffer = vec![0; 64 << 10];
            let (mut stream, _) = listener.accept()?;
            while stream.read(&mut buffer)? > 0 {}
            Ok(())
        });
        let address = SocketAddr::new(address, PORT);
        let mut stream = client.run(|| TcpStream::connect(address))?;
        stream.set_write_timeout(Some(Duration::from_secs(20)))?;
        let data = vec![0x5a; 1 << 20];
        let mut write = |mebibytes| (0..mebibytes).try_for_each(|_| stream.write_all(&data));
        write(20)?;
        let (packets, before) = (packets_sent(), allocations());
        write(60)?;
        let (packets, made) = (packets_sent() - packets, allocations() - before);
        ensure!(packets > 10_000 && made == 0, "{made} allocations for {packets} packets");
        stream.shutdown(Shutdown::Both)?;
        reader.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}
