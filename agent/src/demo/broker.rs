//! The demo's MQTT broker: rumqttd on a free port of the loopback address, MQTT 3.1.1, nothing on
//! disk. It has no way to end: its threads live as long as the process.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};

/// Longest time until it answers.
const START: Duration = Duration::from_secs(5);
/// Time between two looks while it starts.
const LOOK: Duration = Duration::from_millis(10);
/// Ports tried: between finding a free one and the broker taking it somebody else may.
const TRIES: usize = 5;
/// MQTT 3.1.1, section 3.1: CONNECT, clean session, no keep alive limit needed, client `d`.
const CONNECT: [u8; 15] = [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, 1, b'd'];
/// Section 3.2: CONNACK, accepted.
const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
/// Section 3.14: DISCONNECT.
const DISCONNECT: [u8; 2] = [0xE0, 0];

/// Starts the broker and gives its port once it answers. Blocks; not for an async task.
///
/// # Errors
/// It does not come up.
pub fn start() -> io::Result<u16> {
    let mut last = io::Error::other("not tried");
    for _ in 0..TRIES {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let server = thread::Builder::new().name("broker".into()).spawn(move || {
            // Why it ended is in its log; here counts that it did.
            let _ = Broker::new(config(address)).start();
        })?;
        let started = Instant::now();
        while !server.is_finished() && started.elapsed() < START {
            match greet(address) {
                Ok(()) => return Ok(port),
                Err(error) => last = error,
            }
            thread::sleep(LOOK);
        }
    }
    Err(last)
}

/// Connects as a client does.
fn greet(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, START)?;
    stream.set_read_timeout(Some(START))?;
    stream.write_all(&CONNECT)?;
    let mut answer = [0; CONNACK.len()];
    stream.read_exact(&mut answer)?;
    if answer != CONNACK {
        return Err(io::Error::other("the broker does not accept clients"));
    }
    stream.write_all(&DISCONNECT)
}

fn config(address: SocketAddr) -> Config {
    let connections = ConnectionSettings {
        connection_timeout_ms: 5_000,
        max_payload_size: 1024 * 1024,
        max_inflight_count: 100,
        auth: None,
        external_auth: None,
        dynamic_filters: true,
    };
    let server = ServerSettings {
        name: "broker-v4".into(),
        listen: address,
        tls: None,
        next_connection_delay_ms: 1,
        connections,
    };
    // Per topic filter it keeps up to `count` segments of `size` bytes in memory.
    let router = RouterConfig {
        max_connections: 64,
        max_outgoing_packet_count: 200,
        max_segment_size: 256 * 1024,
        max_segment_count: 4,
        ..RouterConfig::default()
    };
    Config { router, v4: Some(HashMap::from([("v4".into(), server)])), ..Config::default() }
}
