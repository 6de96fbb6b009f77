use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::{AfterTruncation, Direction, Mode, Proxy};
use crate::wait;

/// A real echo server; ends with the test program.
fn echo() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let (mut from, mut to) = (&stream, &stream);
                let _ = std::io::copy(&mut from, &mut to);
            });
        }
    });
    port
}

fn client(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream
}

fn exchange(mut stream: &TcpStream, text: &str) -> String {
    stream.write_all(text.as_bytes()).unwrap();
    let mut back = vec![0; text.len()];
    stream.read_exact(&mut back).unwrap();
    String::from_utf8(back).unwrap()
}

fn silent(mut stream: &TcpStream, time: Duration) -> bool {
    stream.set_read_timeout(Some(time)).unwrap();
    let outcome = stream.read(&mut [0; 1]).map_err(|e| e.kind());
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    matches!(outcome, Err(ErrorKind::WouldBlock | ErrorKind::TimedOut))
}

#[test]
fn passes_bytes_both_ways_and_counts_them() {
    let proxy = Proxy::start(echo()).unwrap();
    let stream = client(&proxy);
    assert_eq!(exchange(&stream, "hello"), "hello");
    assert_eq!(proxy.accepts(), 1);
    assert_eq!(proxy.open(), 1);
    // The client may have the bytes a moment before they are counted.
    wait::until("both directions counted", Duration::from_secs(5), || {
        (proxy.bytes(Direction::ToServer), proxy.bytes(Direction::ToClient)) == (5, 5)
    })
    .unwrap();
    drop(stream);
    wait::until("the connection ends", Duration::from_secs(5), || proxy.open() == 0).unwrap();
}

#[test]
fn what_waited_during_a_cut_arrives_after_healing() {
    let proxy = Proxy::start(echo()).unwrap();
    let mut stream = client(&proxy);
    assert_eq!(exchange(&stream, "a"), "a");
    proxy.cut();
    stream.write_all(b"bc").unwrap();
    assert!(silent(&stream, Duration::from_millis(200)));
    proxy.heal();
    let mut back = [0; 2];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"bc");
    assert_eq!(proxy.accepts(), 1);
}

#[test]
fn discards_one_direction_only() {
    let proxy = Proxy::start(echo()).unwrap();
    let mut stream = client(&proxy);
    proxy.set(Direction::ToClient, Mode::Discard);
    stream.write_all(b"lost").unwrap();
    wait::until("the request passes", Duration::from_secs(5), || {
        proxy.bytes(Direction::ToServer) == 4
    })
    .unwrap();
    assert!(silent(&stream, Duration::from_millis(200)));
    proxy.heal();
    assert_eq!(exchange(&stream, "kept"), "kept");
    // The client may have the bytes a moment before they are counted.
    wait::until("four bytes counted", Duration::from_secs(5), || {
        proxy.bytes(Direction::ToClient) == 4
    })
    .unwrap();
}

#[test]
fn delays_at_least_as_long_as_asked() {
    let proxy = Proxy::start(echo()).unwrap();
    let stream = client(&proxy);
    proxy.set(Direction::ToClient, Mode::Delay(Duration::from_millis(150)));
    let started = Instant::now();
    assert_eq!(exchange(&stream, "x"), "x");
    assert!(started.elapsed() >= Duration::from_millis(150));
}

#[test]
fn truncates_one_piece_of_one_connection() {
    let proxy = Proxy::start(echo()).unwrap();
    let mut first = client(&proxy);
    proxy.set(Direction::ToClient, Mode::Truncate { bytes: 2, then: AfterTruncation::Silence });
    first.write_all(b"abcdef").unwrap();
    let mut back = [0; 2];
    first.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"ab");
    assert!(silent(&first, Duration::from_millis(200)));
    assert_eq!(exchange(&client(&proxy), "whole"), "whole");
}

#[test]
fn truncation_can_close_the_connection() {
    let proxy = Proxy::start(echo()).unwrap();
    let mut stream = client(&proxy);
    proxy.set(Direction::ToClient, Mode::Truncate { bytes: 1, then: AfterTruncation::Close });
    stream.write_all(b"abc").unwrap();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    assert_eq!(back, b"a");
}

#[test]
fn a_reset_reaches_the_client_as_one() {
    let proxy = Proxy::start(echo()).unwrap();
    let mut stream = client(&proxy);
    assert_eq!(exchange(&stream, "a"), "a");
    proxy.reset().unwrap();
    assert_eq!(stream.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(exchange(&client(&proxy), "b"), "b");
}

#[test]
fn refuses_and_accepts_again_on_the_same_port() {
    let proxy = Proxy::start(echo()).unwrap();
    let stream = client(&proxy);
    proxy.refuse().unwrap();
    let refused = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(exchange(&stream, "still"), "still");
    proxy.accept_again().unwrap();
    assert_eq!(exchange(&client(&proxy), "again"), "again");
    assert_eq!(proxy.accepts(), 2);
}
