//! A peer that breaks, is late, lies or vanishes.

use std::time::Duration;

use lineside_core::driver::Ended;
use lineside_core::{Fault, FaultClass, StatusCode, Value};
use lineside_crds::diagnostics::Code;
use lineside_crds::model::Protocol;
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};

use crate::harness::{Running, device, until};
use crate::peer::{Ask, Do, Peer, register};

fn failed(ended: Ended) -> Fault {
    match ended {
        Ended::Failed(fault) => fault,
        other => panic!("ended with {other:?}"),
    }
}

/// Two points that no request reads together.
const TWO: [(&str, &str, u64); 2] =
    [("a", "holding-register:1:UINT", 50), ("b", "holding-register:1000:UINT", 50)];

#[tokio::test]
async fn a_late_answer_is_discarded_and_never_taken_for_the_next_one() {
    // The answer to request 0 comes, with other content, just before that to request 1.
    let mut late: Option<Ask> = None;
    let peer = Peer::start(move |ask| {
        if ask.number == 0 {
            late = Some(*ask);
            return Do::Send(Vec::new());
        }
        let mut bytes = late
            .take()
            .map(|old| old.frame(old.transaction, 1, &[3, 2, 0xDE, 0xAD]))
            .unwrap_or_default();
        bytes.extend(ask.good());
        Do::Send(bytes)
    })
    .await;
    let session = Running::start(device(peer.port, &[("a", "holding-register:1:UINT", 50)]));
    let collected = session.collected.clone();
    until("good values", || collected.good("a").len() >= 3).await;
    assert_eq!(collected.of("a")[0], (Value::Null, StatusCode::BAD_TIMEOUT));
    assert!(collected.good("a").iter().all(|v| *v == Value::U16(register(0))));
    assert_eq!(peer.accepts(), 1);
    session.stop().await;
}

#[tokio::test]
async fn a_device_that_is_always_too_late_keeps_its_connection() {
    // Each request is answered when the next one comes.
    let mut late: Option<Ask> = None;
    let peer = Peer::start(move |ask| {
        Do::Send(late.replace(*ask).map(|old| old.good()).unwrap_or_default())
    })
    .await;
    let mut device = device(peer.port, &[("a", "holding-register:1:UINT", 50)]);
    device.timeouts.request = Duration::from_millis(50);
    let session = Running::start(device);
    let collected = session.collected.clone();
    until("eight requests", || peer.asks().len() >= 8).await;
    assert!(collected.statuses("a").iter().all(|s| *s == StatusCode::BAD_TIMEOUT));
    assert_eq!(peer.accepts(), 1);
    session.stop().await;
}

#[tokio::test]
async fn a_foreign_transaction_is_no_answer() {
    let peer = Peer::start(|ask| {
        let foreign = ask.frame(ask.transaction.wrapping_add(100), 1, &[3, 2, 0xDE, 0xAD]);
        Do::Send(if ask.number % 2 == 0 { foreign } else { [foreign, ask.good()].concat() })
    })
    .await;
    let session = Running::start(device(peer.port, &[("a", "holding-register:1:UINT", 50)]));
    let collected = session.collected.clone();
    until("a good value", || !collected.good("a").is_empty()).await;
    assert_eq!(collected.of("a")[0], (Value::Null, StatusCode::BAD_TIMEOUT));
    assert!(collected.good("a").iter().all(|v| *v == Value::U16(register(0))));
    session.stop().await;
}

#[tokio::test]
async fn an_answer_that_breaks_the_protocol_ends_the_session() {
    type Broken = fn(&Ask) -> Vec<u8>;
    let cases: [(&str, Broken); 6] = [
        ("unit", |ask| ask.frame(ask.transaction, 2, &[3, 2, 0, 1])),
        ("function", |ask| ask.frame(ask.transaction, 1, &[4, 2, 0, 1])),
        ("byte count", |ask| ask.frame(ask.transaction, 1, &[3, 4, 0, 1, 0, 2])),
        ("data", |ask| ask.frame(ask.transaction, 1, &[3, 2, 0])),
        ("protocol", |_| b"HTTP/1.1 400 Bad Request\r\n".to_vec()),
        ("length", |_| vec![0, 1, 0, 0, 0xFF, 0xFF, 1, 3]),
    ];
    for (name, broken) in cases {
        let peer = Peer::start(move |ask| {
            Do::Send(if ask.number == 0 { ask.good() } else { broken(ask) })
        })
        .await;
        let session = Running::start(device(peer.port, &TWO));
        let collected = session.collected.clone();
        let fault = failed(session.ended().await);
        assert_eq!(
            (fault.class, fault.code),
            (FaultClass::Peer, Code::ProtocolViolation),
            "{name}"
        );
        // What was read is there; what was asked and not answered says so.
        let (first, second) = (collected.of("a"), collected.of("b"));
        let bad = (Value::Null, StatusCode::BAD_COMMUNICATION_ERROR);
        let good = (Value::U16(register(0)), StatusCode::GOOD);
        assert_eq!(first, [good], "{name}");
        assert_eq!(second, [bad], "{name}");
    }
}

#[tokio::test]
async fn half_a_frame_and_the_end_is_a_lost_connection() {
    let peer = Peer::start(|ask| match ask.number {
        0 => Do::Send(ask.good()),
        _ => Do::SendAndClose(ask.good()[..8].to_vec()),
    })
    .await;
    let session = Running::start(device(peer.port, &TWO));
    let collected = session.collected.clone();
    let fault = failed(session.ended().await);
    assert_eq!((fault.class, fault.code), (FaultClass::Unreachable, Code::ConnectionLost));
    let lost = StatusCode::BAD_NO_COMMUNICATION;
    assert_eq!(collected.statuses("a"), [StatusCode::GOOD]);
    assert_eq!(collected.of("b"), [(Value::Null, lost)]);
}

#[tokio::test]
async fn half_a_frame_and_silence_is_a_timeout_and_the_rest_of_it_still_fits() {
    let mut rest = Vec::new();
    let peer = Peer::start(move |ask| {
        if ask.number == 0 {
            let frame = ask.good();
            rest = frame[5..].to_vec();
            return Do::Send(frame[..5].to_vec());
        }
        Do::Send([std::mem::take(&mut rest), ask.good()].concat())
    })
    .await;
    let session = Running::start(device(peer.port, &[("a", "holding-register:1:UINT", 50)]));
    let collected = session.collected.clone();
    until("good values", || collected.good("a").len() >= 3).await;
    assert_eq!(collected.statuses("a")[0], StatusCode::BAD_TIMEOUT);
    assert_eq!(peer.accepts(), 1);
    session.stop().await;
}

#[tokio::test]
async fn a_close_between_two_requests_is_noticed_at_once_and_spoils_no_value() {
    let peer = Peer::start(|ask| Do::SendAndClose(ask.good())).await;
    let session = Running::start(device(peer.port, &[("a", "holding-register:1", 3_600_000)]));
    let collected = session.collected.clone();
    let fault = failed(session.ended().await);
    assert_eq!(fault.code, Code::ConnectionLost);
    assert_eq!(collected.statuses("a"), [StatusCode::GOOD]);
}

#[tokio::test]
async fn a_device_on_which_nobody_answers_any_more_ends_the_session() {
    let peer =
        Peer::start(|ask| Do::Send(if ask.number < 2 { ask.good() } else { Vec::new() })).await;
    let session = Running::start(device(peer.port, &TWO));
    let collected = session.collected.clone();
    let fault = failed(session.ended().await);
    assert_eq!((fault.class, fault.code), (FaultClass::Timeout, Code::RequestTimeout));
    assert!(peer.asks().len() >= 5, "{}", peer.asks().len());
    for point in ["a", "b"] {
        let statuses = collected.statuses(point);
        assert_eq!(statuses[0], StatusCode::GOOD, "{point}");
        assert!(statuses.len() > 1, "{point}");
        assert!(statuses[1..].iter().all(|s| *s == StatusCode::BAD_TIMEOUT), "{statuses:?}");
    }
}

#[tokio::test]
async fn a_dead_unit_does_not_end_the_session_of_those_that_answer() {
    let peer =
        Peer::start(|ask| Do::Send(if ask.request.unit == 2 { Vec::new() } else { ask.good() }))
            .await;
    let session = Running::start(device(
        peer.port,
        &[("a", "holding-register:1", 50), ("dead", "holding-register:1{unit-id: 2}", 50)],
    ));
    let collected = session.collected.clone();
    until("values", || collected.good("a").len() >= 20).await;
    let statuses = collected.statuses("dead");
    assert!(statuses.len() >= 10 && statuses.iter().all(|s| *s == StatusCode::BAD_TIMEOUT));
    assert_eq!(peer.accepts(), 1);
    session.stop().await;
}

#[tokio::test]
async fn a_dead_unit_does_not_end_the_session_of_one_that_is_seldom_asked() {
    let peer =
        Peer::start(|ask| Do::Send(if ask.request.unit == 2 { Vec::new() } else { ask.good() }))
            .await;
    let mut device = device(
        peer.port,
        &[("seldom", "holding-register:1", 3_600_000), ("dead", "coil:1{unit-id: 2}", 50)],
    );
    device.timeouts.request = Duration::from_millis(20);
    let session = Running::start(device);
    let collected = session.collected.clone();
    until("six requests in vain", || peer.asks().len() >= 7).await;
    assert_eq!(collected.statuses("seldom"), [StatusCode::GOOD]);
    assert_eq!(peer.accepts(), 1);
    session.stop().await;
}

#[tokio::test]
async fn cancellation_interrupts_an_unanswered_request() {
    let peer = Peer::start(|_| Do::Send(Vec::new())).await;
    let mut device = device(peer.port, &[("a", "holding-register:1", 50)]);
    device.timeouts.request = Duration::from_secs(60);
    let session = Running::start(device);
    until("a request", || !peer.asks().is_empty()).await;
    session.stop().await;
}

#[tokio::test]
async fn cancellation_interrupts_a_connect_that_hangs() {
    let listener = full_backlog().await;
    let mut device = device(listener.port, &[("a", "holding-register:1", 50)]);
    device.timeouts.connect = Duration::from_secs(60);
    let session = Running::start(device);
    tokio::task::yield_now().await;
    session.stop().await;
}

#[tokio::test]
async fn a_connect_that_hangs_ends_at_its_deadline() {
    let listener = full_backlog().await;
    let mut device = device(listener.port, &[("a", "holding-register:1", 50)]);
    device.timeouts.connect = Duration::from_millis(300);
    let began = Instant::now();
    let fault = failed(Running::start(device).ended().await);
    assert_eq!((fault.class, fault.code), (FaultClass::Unreachable, Code::ConnectTimeout));
    assert!(began.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn a_host_without_an_address_is_said_to_be_that() {
    let mut device = device(502, &[("a", "holding-register:1", 50)]);
    let Protocol::ModbusTcp(settings) = &mut device.protocol else { unreachable!() };
    // RFC 6761: no name below .invalid exists.
    settings.host = "press.invalid".into();
    let fault = failed(Running::start(device).ended().await);
    assert_eq!((fault.class, fault.code), (FaultClass::Unreachable, Code::HostNotFound));
}

/// A socket whose queue of connections is full, so that another connect is not answered.
struct Full {
    port: u16,
    _listener: TcpListener,
    _queued: Vec<tokio::net::TcpStream>,
}

async fn full_backlog() -> Full {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    loop {
        assert!(queued.len() < 64, "the queue of the socket does not fill");
        match timeout(Duration::from_millis(200), tokio::net::TcpStream::connect(address)).await {
            Ok(stream) => queued.push(stream.unwrap()),
            Err(_) => break,
        }
    }
    Full { port: address.port(), _listener: listener, _queued: queued }
}
