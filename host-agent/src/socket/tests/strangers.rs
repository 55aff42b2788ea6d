//! To a peer without rights over a daemon it is not there: every method in the table is asked.

use dxr::Value;
use zhylon_shared::state::InstanceState::Running;

use super::clients::text;
use super::fake::Fake;
use crate::socket::catalogue::METHODS;
use crate::socket::codec::Call;
use crate::socket::methods;
use crate::socket::peer::{Peer, Rights};

const WEB: &str = "daemon-web000000000000000";
const STRANGER: u32 = 4242;

#[test]
fn no_method_shows_or_moves_what_is_anothers() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let fake = Fake::new();
    let id = fake.add("web", 2, Running);
    fake.edit(id, |one| {
        one.log = Some(b"secret\n".to_vec());
        one.entry.uid = Some(1001);
    });
    std::io::Write::write_all(&mut fake.own_log.clone(), b"secret\n").unwrap();
    let mut session = fake.session();
    session.peer = std::rc::Rc::new(Peer {
        uid: STRANGER,
        rights: Rights::Of(STRANGER),
        name: None,
    });
    let call = |method: &str, params: Vec<Value>| {
        let method = method.to_owned();
        let made = methods::call(&session, Call { method, params });
        tokio::task::LocalSet::new().block_on(&runtime, made)
    };
    let value = |kind: &str, whose: &str| match kind {
        "string" => text(whose),
        "int" => Value::Integer(0),
        "boolean" => Value::Boolean(true),
        _ => Value::Array(Vec::new()),
    };
    let mut named = 0;
    for method in METHODS {
        let types: Vec<&str> = method.signature().skip(1).collect();
        let takes_name = types.first() == Some(&"string")
            && method.name != "system.methodHelp"
            && method.name != "system.methodSignature";
        for whose in [
            WEB,
            "daemon-h:web000000000000000:*",
            "daemon-none00000000000000",
        ] {
            // The signal comes last.
            let params = types.iter().enumerate().map(|(at, kind)| match at {
                0 if !method.name.contains("signalAll") => value(kind, whose),
                _ => value(kind, "HUP"),
            });
            let answer = call(method.name, params.collect());
            let shown = format!("{}: {answer:?}", method.name);
            assert!(
                !shown.contains("secret") && !shown.contains("anna"),
                "{shown}"
            );
            match answer {
                Err(fault) if takes_name => {
                    named += 1;
                    // Refused to everybody, or as if there were no such daemon.
                    assert!([10, 30].contains(&fault.code.number()), "{shown}");
                }
                Ok(Value::Array(list)) if method.name.contains("All") => {
                    assert!(list.is_empty(), "{shown}");
                }
                Ok(value) if takes_name => {
                    let harmless = method.name.contains("RemoteCommEvent")
                        || method.name.contains("signalAll");
                    assert!(harmless, "{shown} {value:?}");
                }
                _ => {}
            }
        }
    }
    assert!(named > 40, "{named}");
    assert_eq!(
        fake.own_log.last(99),
        b"secret\n",
        "the agent's log was cleared"
    );
    let world = fake.world();
    assert!(world.asked.is_empty(), "{:?}", world.asked);
    assert_eq!(world.daemons[&id].lost, 0, "its log was cleared");
}

#[test]
fn a_log_that_can_not_be_cleared_is_failed() {
    let served = super::served::Served::start();
    let id = served.fake.add("web", 2, Running);
    let clear = |method: &str, params: &[Value]| {
        super::clients::call(&served.socket, &format!("supervisor.{method}"), params)
    };
    // Supervisor knows no log of a whole group; ours has one.
    for name in [
        WEB,
        "daemon-h:web000000000000000:*",
        &format!("{WEB}:{WEB}_01"),
    ] {
        assert_eq!(
            clear("clearProcessLogs", &[text(name)]),
            Ok(Value::Boolean(true))
        );
    }
    served.fake.edit(id, |one| one.stuck = true);
    assert_eq!(
        clear("clearProcessLog", &[text(WEB)]),
        Err((30, format!("FAILED: {WEB}")))
    );
    let results = super::clients::structs(clear("clearAllProcessLogs", &[]).unwrap());
    let failed = |index: &str| {
        let said = format!("FAILED: {WEB}:{WEB}_{index}");
        (index.to_owned(), 30, said)
    };
    assert_eq!(results, [failed("00"), failed("01")]);
}
