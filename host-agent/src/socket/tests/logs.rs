use dxr::Value;
use zhylon_shared::state::InstanceState::Running;

use super::clients::{call, text};
use super::served::Served;

const WEB: &str = "daemon-web000000000000000";

#[test]
fn logs_by_offset() {
    let served = Served::start();
    let id = served.fake.add("web", 1, Running);
    let read = |method: &str, from: i32, length: i32| {
        let params = [text(WEB), Value::Integer(from), Value::Integer(length)];
        call(&served.socket, &format!("supervisor.{method}"), &params)
    };
    assert_eq!(
        read("readProcessStdoutLog", -10, 0),
        Err((20, format!("NO_FILE: {WEB}")))
    );
    let tail = |bytes: &str, offset, overflow| {
        Ok(Value::Array(vec![
            text(bytes),
            Value::Integer(offset),
            Value::Boolean(overflow),
        ]))
    };
    assert_eq!(read("tailProcessStdoutLog", 0, 5), tail("", 0, false));
    served.fake.edit(id, |one| {
        one.log = Some(b"one\ntwo\n\x1b[1mthree\n".to_vec())
    });
    assert_eq!(read("readProcessLog", -6, 0), Ok(text("three\n")));
    assert_eq!(
        read("readProcessLog", -6, 1),
        Err((3, "BAD_ARGUMENTS".into()))
    );
    assert_eq!(
        read("readProcessLog", 0, -1),
        Err((3, "BAD_ARGUMENTS".into()))
    );
    assert_eq!(read("readProcessLog", 4, 4), Ok(text("two\n")));
    assert_eq!(
        read("readProcessLog", 4, 0),
        Ok(text("two\n\u{fffd}[1mthree\n"))
    );
    assert_eq!(read("readProcessLog", 99, 0), Ok(text("")));
    assert_eq!(read("tailProcessLog", 0, 6), tail("three\n", 18, true));
    assert_eq!(read("tailProcessLog", 12, 6), tail("three\n", 18, false));
    assert_eq!(read("tailProcessLog", 18, 6), tail("", 18, false));
    assert_eq!(
        read("readProcessStderrLog", -10, 0),
        Err((20, "NO_FILE".into()))
    );
    assert_eq!(read("tailProcessStderrLog", 0, 9), tail("", 0, false));
    let raw = call(
        &served.socket,
        "zhylon.readLog",
        &[text(WEB), Value::Integer(10)],
    );
    assert_eq!(raw, Ok(Value::Base64(b"\x1b[1mthree\n".to_vec())));
}
