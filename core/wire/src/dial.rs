//! From an address to a connected stream: names, sockets, TLS. Deliberately not here: when to dial again.

use crate::client::{ClientError, ConnectOptions};
use crate::inproc::{self, ClientEnd};
use crate::security::{TlsClient, server_name};
use crate::stream::Stream;
use ottla_env::Env;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};

/// Addresses of one name that are tried; the others are left for luck at another time.
const ADDRESSES_MAX: usize = 16;

/// What dialling gives.
#[derive(Debug)]
pub(crate) enum Dialled {
    Stream(Stream),
    InProc(ClientEnd),
}

/// Dials `host:port`, or `ottla-inproc:<id>` for a broker in this process, which needs no security.
///
/// All addresses of the name are tried in the order in which the resolver gives them (`client.dns.lookup` is
/// `use_all_dns_ips`), each for its share of what is left of the time, so that one that swallows packets leaves some to
/// the next.
pub(crate) async fn dial(env: &Env, address: &str, options: &ConnectOptions) -> Result<Dialled, ClientError> {
    let refused = |reason: String| ClientError::Connect { address: address.to_owned(), reason };
    if inproc::is_inproc(address) {
        let connecting = env.timeout(options.connect_timeout, inproc::connect(env.world(), address)).await;
        return match connecting {
            Ok(connected) => connected.map(Dialled::InProc).map_err(|error| refused(error.to_string())),
            Err(_) => Err(refused(format!("no answer within {} ms", options.connect_timeout.as_millis()))),
        };
    }
    let started = env.monotonic();
    let left = || options.connect_timeout.saturating_sub(env.monotonic().saturating_sub(started));
    let late = || refused(format!("no answer within {} ms", options.connect_timeout.as_millis()));
    let found = match env.timeout(left(), tokio::net::lookup_host(address)).await {
        Ok(Ok(found)) => found.take(ADDRESSES_MAX).collect::<Vec<_>>(),
        Ok(Err(error)) => {
            return Err(ClientError::Resolve { address: address.to_owned(), reason: error.to_string() });
        }
        Err(_) => return Err(refused("its name was not resolved in time".to_owned())),
    };
    let mut failure = ClientError::Resolve { address: address.to_owned(), reason: "it has no address".to_owned() };
    for (tried, peer) in found.iter().enumerate() {
        let share = left() / (found.len() - tried) as u32;
        if share.is_zero() {
            return Err(late());
        }
        let attempt = async {
            let socket = connect(*peer, options).await.map_err(|error| refused(error.to_string()))?;
            match &options.security.tls {
                Some(tls) => secure(tls, address, socket, *peer).await,
                None => Ok(Stream::tcp(socket, *peer)),
            }
        };
        failure = match env.timeout(share, attempt).await {
            Ok(Ok(stream)) => return Ok(Dialled::Stream(stream)),
            Ok(Err(error)) => error,
            Err(_) => late(),
        };
        // The next address would show the same certificate.
        if matches!(failure, ClientError::Security(_)) {
            return Err(failure);
        }
    }
    Err(failure)
}

async fn connect(peer: SocketAddr, options: &ConnectOptions) -> io::Result<TcpStream> {
    let socket = match peer {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if let Some(bytes) = options.send_buffer {
        socket.set_send_buffer_size(bytes)?;
    }
    if let Some(bytes) = options.receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    let socket = socket.connect(peer).await?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

async fn secure(tls: &TlsClient, address: &str, socket: TcpStream, peer: SocketAddr) -> Result<Stream, ClientError> {
    let server = server_name(address).map_err(ClientError::Security)?;
    match tls.handshake(socket, server).await {
        Ok(stream) => Ok(Stream::tls(stream, peer)),
        Err(error) => Err(tls.explain(address, &error)),
    }
}

/// The shortest time in which anything is dialled.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    /// Linux reserves twice what it is asked for.
    #[tokio::test]
    async fn the_buffers_are_as_large_as_asked_for() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = listener.local_addr().unwrap();
        for bytes in [16 * 1024, 64 * 1024] {
            let options = ConnectOptions {
                send_buffer: Some(bytes as u32),
                receive_buffer: Some(bytes as u32),
                ..ConnectOptions::default()
            };
            let socket = connect(peer, &options).await.unwrap();
            let socket = socket2::SockRef::from(&socket);
            for size in [socket.send_buffer_size().unwrap(), socket.recv_buffer_size().unwrap()] {
                assert!(size == bytes || size == 2 * bytes, "{size} for {bytes}");
            }
        }
    }
}
