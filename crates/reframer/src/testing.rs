//! What the tests of several modules need.

use evenkeel_platform::socket::UdpSocket;

/// Waits for `count` datagrams.
pub(crate) async fn receive(socket: &UdpSocket, count: usize) -> Vec<Vec<u8>> {
    let readable = tokio::net::UdpSocket::from_std(socket.try_clone_std().unwrap()).unwrap();
    let mut received = Vec::new();
    let mut buffer = vec![0; 65_536];
    while received.len() < count {
        let length = readable.recv(&mut buffer).await.unwrap();
        received.push(buffer[..length].to_vec());
    }
    received
}
