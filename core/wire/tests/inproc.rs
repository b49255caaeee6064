//! The in-process transport under a service that a test plays: order, ends, panics, runtimes, limits.

use bytes::Bytes;
use ottla_env::Env;
use ottla_protocol::{ApiVersionsRequest, Frame};
use ottla_wire::{
    Admission, Answer, ClientConnection, ClientError, ConnectOptions, ConnectionLimits, InProcListener, Limits,
    Listener, Peer, Service,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;

const LONG: Duration = Duration::from_secs(30);
const IDLE: Duration = Duration::from_millis(200);

/// Answers ApiVersions with the number of the request on its connection as the error code. `wait`: it takes a permit first.
/// `panic_at`: that request panics.
#[derive(Clone)]
struct Counting {
    wait: Option<Arc<Semaphore>>,
    panic_at: usize,
    open: Arc<AtomicUsize>,
}

/// One connection; counted while it lives.
struct Session(usize, Arc<AtomicUsize>);

impl Drop for Session {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Service for Counting {
    type Session = Session;

    fn open(&self, _peer: Peer) -> Session {
        self.open.fetch_add(1, Ordering::SeqCst);
        Session(0, self.open.clone())
    }

    async fn call(&self, session: &mut Session, frame: Frame, _admission: Admission) -> Answer {
        session.0 += 1;
        if let Some(wait) = &self.wait {
            wait.acquire().await.expect("never closed").forget();
        }
        assert_ne!(session.0, self.panic_at, "as the test wants it");
        let request = frame.into_bytes().expect("in memory");
        let mut answer = request[4..8].to_vec();
        answer.extend((session.0 as i16).to_be_bytes());
        answer.extend(0i32.to_be_bytes());
        Answer::Frame(Frame::from(Bytes::from(answer)))
    }
}

fn serve(name: &str, wait: Option<&Arc<Semaphore>>, panic_at: usize) -> (Listener<Counting>, String) {
    let limits = Limits {
        connections: Arc::new(ConnectionLimits { max: AtomicUsize::new(10), per_ip: AtomicUsize::new(10) }),
        idle: IDLE,
        request_size_max: 1000,
        requests_max: 10,
        request_bytes_max: None,
    };
    let service = Counting { wait: wait.cloned(), panic_at, open: Arc::default() };
    let listener = Listener::new(Env::real(), service, limits);
    let acceptor = InProcListener::bind(name).expect("a free name");
    let address = acceptor.name().to_owned();
    listener.inproc(Arc::from("INPROC"), acceptor);
    (listener, address)
}

async fn dial(address: &str) -> ClientConnection {
    let options = ConnectOptions { in_flight_max: 64, ..ConnectOptions::default() };
    ClientConnection::connect(&Env::real(), address, &options).await.expect("connects")
}

async fn ask(connection: &ClientConnection) -> Result<i16, ClientError> {
    connection.request(&ApiVersionsRequest::default(), 0, LONG).await.map(|response| response.error_code)
}

#[tokio::test]
async fn what_can_be_answered_at_once_is_there_when_it_has_been_sent() {
    let (listener, address) = serve("at-once", None, 0);
    let connection = dial(&address).await;
    assert_eq!(ask(&connection).await.expect("answered"), 1);
    for number in 2..300 {
        let mut pending = connection.start(&ApiVersionsRequest::default(), 0).await.expect("sent");
        // Now and then tokio wants its turn first.
        let answer = match pending.try_take() {
            Some(answer) => answer,
            None => {
                assert!(number > 20, "{number}");
                pending.wait(LONG).await
            }
        };
        assert_eq!(answer.expect("answered").error_code, number);
    }
    listener.close().await;
    assert!(matches!(ask(&connection).await, Err(ClientError::Disconnected(_))));
}

#[tokio::test]
async fn many_requests_are_answered_in_order_while_the_first_waits() {
    let gate = Arc::new(Semaphore::new(0));
    let (_listener, address) = serve("in-order", Some(&gate), 0);
    let connection = dial(&address).await;
    let all = async {
        let asked = (0..50).map(|_| ask(&connection));
        let mut answers = Vec::new();
        let mut asked: Vec<_> = asked.map(Box::pin).collect();
        std::future::poll_fn(|context| {
            // All are polled once before any is answered.
            answers.clear();
            asked.iter_mut().for_each(|one| assert!(one.as_mut().poll(context).is_pending()));
            std::task::Poll::Ready(())
        })
        .await;
        gate.add_permits(50);
        for one in asked {
            answers.push(one.await.expect("answered"));
        }
        answers
    };
    assert_eq!(all.await, (1..=50).collect::<Vec<i16>>());
}

#[tokio::test]
async fn closing_fails_what_is_outstanding_and_ends_the_server() {
    let gate = Arc::new(Semaphore::new(0));
    let (listener, address) = serve("closing", Some(&gate), 0);
    let connection = dial(&address).await;
    let pending = connection.start(&ApiVersionsRequest::default(), 0).await.expect("sent");
    connection.close();
    assert!(matches!(pending.wait(LONG).await, Err(ClientError::Disconnected(_))));
    assert!(matches!(ask(&connection).await, Err(ClientError::Disconnected(_))));
    gate.add_permits(1);
    let open = &listener.service().open;
    while open.load(Ordering::SeqCst) > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_dropped_connection_still_sends_what_was_queued() {
    let gate = Arc::new(Semaphore::new(0));
    let (listener, address) = serve("dropping", Some(&gate), 0);
    let connection = dial(&address).await;
    for _ in 0..3 {
        connection.send(&ApiVersionsRequest::default(), 0).await.expect("sent");
    }
    drop(connection);
    gate.add_permits(3);
    let open = &listener.service().open;
    while open.load(Ordering::SeqCst) > 0 || gate.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_server_that_stops_answers_nothing_more() {
    let gate = Arc::new(Semaphore::new(0));
    let (listener, address) = serve("stopping", Some(&gate), 0);
    let connection = dial(&address).await;
    let pending = connection.start(&ApiVersionsRequest::default(), 0).await.expect("sent");
    listener.stop();
    gate.add_permits(1);
    assert!(matches!(pending.wait(LONG).await, Err(ClientError::Disconnected(_))));
    listener.close().await;
    assert_eq!(connection.closed_because(), Some("the broker closed the connection"));
}

#[tokio::test]
async fn a_panic_ends_the_connection_and_not_its_client() {
    let (listener, address) = serve("panicking", None, 2);
    let connection = dial(&address).await;
    assert_eq!(ask(&connection).await.expect("answered"), 1);
    assert!(matches!(ask(&connection).await, Err(ClientError::Disconnected(_))));
    assert_eq!(ask(&dial(&address).await).await.expect("answered"), 1);
    listener.close().await;
}

#[tokio::test]
async fn a_request_that_is_too_large_ends_the_connection() {
    let (_listener, address) = serve("large", None, 0);
    let connection = dial(&address).await;
    let request = ottla_protocol::SaslAuthenticateRequest { auth_bytes: vec![7; 2000].into(), ..Default::default() };
    assert!(matches!(connection.request(&request, 0, LONG).await, Err(ClientError::Disconnected(_))));
}

#[test]
fn a_client_in_another_runtime_is_served_by_the_brokers() {
    let runtime =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let (brokers, clients) = (runtime(), runtime());
    let (listener, address) = brokers.block_on(async { serve("elsewhere", None, 0) });
    clients.block_on(async {
        let connection = dial(&address).await;
        for number in 1..100 {
            assert_eq!(ask(&connection).await.expect("answered"), number);
        }
    });
    brokers.block_on(listener.close());
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_waiting_one_is_not() {
    let gate = Arc::new(Semaphore::new(0));
    let (_listener, address) = serve("idle", Some(&gate), 0);
    let (busy, idle) = (dial(&address).await, dial(&address).await);
    let pending = busy.start(&ApiVersionsRequest::default(), 0).await.expect("sent");
    while !idle.is_closed() {
        Env::real().sleep(Duration::from_millis(5)).await;
    }
    assert!(!busy.is_closed());
    gate.add_permits(1);
    assert_eq!(pending.wait(LONG).await.expect("answered").error_code, 1);
}
