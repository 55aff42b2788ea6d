use dxr::Value;
use zhylon_shared::state::InstanceState::Running;

use super::clients::{call, text};
use super::served::Served;

const WEB: &str = "daemon-web000000000000000";

#[test]
fn multicall() {
    let served = Served::start();
    let id = served.fake.add("web", 1, Running);
    let one = |method: &str, params: &[Value]| {
        Value::Struct(
            [
                ("methodName".to_owned(), text(method)),
                ("params".to_owned(), Value::Array(params.to_vec())),
            ]
            .into(),
        )
    };
    let many = |calls: Vec<Value>| call(&served.socket, "system.multicall", &[Value::Array(calls)]);
    let fault = |code, said: &str| {
        Value::Struct(
            [
                ("faultCode".to_owned(), Value::Integer(code)),
                ("faultString".to_owned(), text(said)),
            ]
            .into(),
        )
    };
    let answers = many(vec![
        one("supervisor.getVersion", &[]),
        one("supervisor.stopProcess", &[text("x")]),
        one("system.multicall", &[]),
        Value::Integer(1),
        Value::Struct(Default::default()),
    ]);
    assert_eq!(
        answers,
        Ok(Value::Array(vec![
            text("3.0"),
            fault(10, "BAD_NAME: x"),
            fault(
                2,
                "INCORRECT_PARAMETERS: Recursive system.multicall forbidden"
            ),
            fault(2, "INCORRECT_PARAMETERS"),
            fault(2, "INCORRECT_PARAMETERS: No methodName"),
        ]))
    );
    assert_eq!(
        many(vec![one("supervisor.getVersion", &[]); 101])
            .unwrap_err()
            .0,
        2
    );
    // However often a large answer is asked for, what is sent stays bounded.
    served
        .fake
        .edit(id, |one| one.log = Some(vec![b'x'; 3 << 20]));
    let read = one(
        "supervisor.readProcessLog",
        &[text(WEB), Value::Integer(0), Value::Integer(0)],
    );
    let Ok(Value::Array(answers)) = many(vec![read; 50]) else {
        panic!("no array");
    };
    let sizes: Vec<usize> = answers.iter().map(crate::socket::codec::weight).collect();
    assert_eq!(sizes.len(), 50);
    assert!(sizes.iter().sum::<usize>() < 6 << 20, "{sizes:?}");
    assert!(
        matches!(&answers[49], Value::Struct(fault) if fault["faultCode"] == Value::Integer(30))
    );
}
