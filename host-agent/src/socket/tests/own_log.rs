//! The agent's own newest lines: root's alone.

use std::io::Write as _;

use dxr::Value;

use super::clients::{Raw, call, text};
use super::fake::own_uid;
use super::served::Served;

#[test]
fn only_root_reads_and_clears_it() {
    let served = Served::start();
    let mut log = served.fake.own_log.clone();
    log.write_all(b"one\ntwo\n").unwrap();
    let read = |from: i32, length: i32| {
        let params = [Value::Integer(from), Value::Integer(length)];
        call(&served.socket, "supervisor.readLog", &params)
    };
    let mut raw = Raw::open(&served.socket);
    raw.send(b"GET /mainlogtail HTTP/1.1\r\nHost: x\r\n\r\n");
    if own_uid() != 0 {
        let no_file = Err((20, "NO_FILE".to_owned()));
        assert_eq!(read(0, 0), no_file);
        assert_eq!(call(&served.socket, "supervisor.clearLog", &[]), no_file);
        assert_eq!(raw.head().0, 404);
        return;
    }
    assert_eq!(read(0, 0), Ok(text("one\ntwo\n")));
    assert_eq!(read(-4, 0), Ok(text("two\n")));
    assert_eq!(read(4, 3), Ok(text("two")));
    assert_eq!(read(-4, 1), Err((3, "BAD_ARGUMENTS".into())));
    assert_eq!(raw.head().0, 200);
    assert_eq!(raw.chunk(), b"one\ntwo\n");
    log.write_all(b"three\n").unwrap();
    assert_eq!(raw.chunk(), b"three\n");
    assert_eq!(
        call(&served.socket, "supervisor.clearLog", &[]),
        Ok(Value::Boolean(true))
    );
    assert_eq!(read(0, 0), Ok(text("")));
    log.write_all(b"four\n").unwrap();
    assert_eq!(raw.chunk(), b"four\n");
    assert_eq!(read(-99, 0), Ok(text("four\n")));
}
