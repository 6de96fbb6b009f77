use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use super::{Device, now, value};
use crate::dir::TestDir;

const READ_TWO: [u8; 12] = [0, 1, 0, 0, 0, 6, 1, 3, 0, 0, 0, 4];

fn ask(stream: &mut TcpStream) -> [u32; 2] {
    stream.write_all(&READ_TWO).unwrap();
    let mut answer = [0; 17];
    stream.read_exact(&mut answer).unwrap();
    [9, 13].map(|at| u32::from_be_bytes(answer[at..at + 4].try_into().unwrap()))
}

#[test]
fn every_answer_on_every_connection_is_new_and_logged_with_its_times() {
    let dir = TestDir::new("fault_device").unwrap();
    let device = Device::start(&dir, "d", 2, &[0, 2, 200]).unwrap();
    let before = now().unwrap();
    let mut one = TcpStream::connect(("127.0.0.1", device.port)).unwrap();
    let mut other = TcpStream::connect(("127.0.0.1", device.port)).unwrap();
    let got: Vec<u32> =
        [ask(&mut one), ask(&mut other), ask(&mut one)].into_iter().flatten().collect();
    let after = now().unwrap();
    let first = 1 + (2 << 18);
    let want: Vec<u32> = (first..first + 3).flat_map(|n| [value(n, 0), value(n, 1)]).collect();
    assert_eq!(got, want);
    let served = device.served();
    assert_eq!(served.iter().map(|s| s.value).collect::<Vec<_>>(), want);
    for s in &served {
        assert_eq!(s.device, "default/d");
        assert!(before <= s.received && s.received <= s.sent && s.sent <= after, "{s:?}");
    }
    assert_eq!((&*served[0].point, &*served[1].point), ("p0", "p1"));
}

#[test]
fn requests_in_one_piece_and_in_many_are_answered_alike() {
    let dir = TestDir::new("fault_device_pieces").unwrap();
    let device = Device::start(&dir, "d", 0, &[0, 2]).unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", device.port)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(&[READ_TWO, READ_TWO].concat()).unwrap();
    for byte in READ_TWO {
        stream.write_all(&[byte]).unwrap();
    }
    let mut answers = [0; 17 * 3];
    stream.read_exact(&mut answers).unwrap();
    assert_eq!(device.served().len(), 6);
}

#[test]
fn counters_that_overlap_are_refused() {
    let dir = TestDir::new("fault_device_overlap").unwrap();
    assert!(Device::start(&dir, "d", 0, &[0, 1]).is_err());
}
