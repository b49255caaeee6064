//! Socket options of a listener, as the operating system sees them: a client cannot.

use ottla_protocol::Frame;
use ottla_wire::{Admission, Answer, Listener, ListenerOptions, Peer, Service};
use std::net::{SocketAddr, TcpListener};

struct Nobody;

impl Service for Nobody {
    type Session = ();

    fn open(&self, _peer: Peer) {}

    async fn call(&self, _session: &mut (), _frame: Frame, _admission: Admission) -> Answer {
        Answer::Close
    }
}

fn bind(options: &ListenerOptions) -> TcpListener {
    let free: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    Listener::<Nobody>::bind(free, options).expect("a free port")
}

/// Linux reserves twice what it is asked for; accepted sockets inherit both.
#[test]
fn the_buffers_are_as_large_as_asked_for() {
    for bytes in [16 * 1024, 64 * 1024] {
        let options =
            ListenerOptions { send_buffer_bytes: Some(bytes), receive_buffer_bytes: Some(bytes), backlog: 50 };
        let listener = bind(&options);
        let socket = socket2::SockRef::from(&listener);
        for size in [socket.send_buffer_size(), socket.recv_buffer_size()] {
            let size = size.expect("the system says");
            assert!(size == bytes || size == 2 * bytes, "{size} for {bytes}");
        }
        let client = std::net::TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
        let accepted = loop {
            // The listener does not block.
            match listener.accept() {
                Ok((accepted, _)) => break accepted,
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
            }
        };
        let size = socket2::SockRef::from(&accepted).send_buffer_size().expect("the system says");
        assert!(size == bytes || size == 2 * bytes, "{size} for {bytes}");
        drop(client);
    }
}

/// Nobody accepts: with a backlog of one a third or fourth connection hangs, with a long one ten are taken.
#[cfg(target_os = "linux")]
#[test]
fn the_backlog_is_as_long_as_asked_for() {
    let taken = |backlog: i32| {
        let listener = bind(&ListenerOptions { backlog, ..ListenerOptions::default() });
        let address = listener.local_addr().expect("bound");
        let connect = |_| std::net::TcpStream::connect_timeout(&address, std::time::Duration::from_millis(500)).ok();
        let open: Vec<_> = (0..10).map_while(connect).collect();
        open.len()
    };
    assert!(taken(1) < 10);
    assert_eq!(taken(50), 10);
}
