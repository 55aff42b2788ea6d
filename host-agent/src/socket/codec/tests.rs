use super::*;
use proptest::prelude::*;

/// What Debian's client sends.
const REQUEST: &str = "<?xml version='1.0'?>\n<methodCall>\n<methodName>supervisor.stopProcess</methodName>\n<params>\n<param>\n<value><string>daemon-h:H3hxDfKZE0mHsxTqwN:*</string></value>\n</param>\n</params>\n</methodCall>\n";

fn nested(depth: usize, inner: &str) -> String {
    let open = "<value><array><data>".repeat(depth);
    let close = "</data></array></value>".repeat(depth);
    format!(
        "<methodCall><methodName>x</methodName><params><param>{open}{inner}{close}</param></params></methodCall>"
    )
}

#[test]
fn reads_what_debians_client_sends() {
    let call = parse_call(REQUEST.as_bytes()).unwrap();
    assert_eq!(call.method, "supervisor.stopProcess");
    let name = Value::String("daemon-h:H3hxDfKZE0mHsxTqwN:*".into());
    assert_eq!(call.params, [name]);
    let bare = "<?xml version='1.0'?><methodCall><methodName>a.b</methodName></methodCall>";
    assert_eq!(parse_call(bare.as_bytes()).unwrap().params, []);
}

#[test]
fn refuses_what_is_no_call() {
    for (body, why) in [
        (&b"\xff\xfe"[..], Malformed::NotUtf8),
        (b"", Malformed::NotACall),
        (b"hello", Malformed::NotACall),
        (b"<methodCall><methodName></methodName></methodCall>", Malformed::NotACall),
        (b"<methodCall><methodName>a", Malformed::NotACall),
        (b"<!DOCTYPE x [<!ENTITY a 'b'>]><methodCall/>", Malformed::Declaration),
        (b"<!-- --><methodCall/>", Malformed::Declaration),
        (b"<methodCall a='b'/>", Malformed::Declaration),
        (b"<methodCall><methodName>a</methodName><params><param><value><i4>x</i4></value></param></params></methodCall>", Malformed::NotACall),
    ] {
        assert_eq!(parse_call(body), Err(why), "{}", String::from_utf8_lossy(body));
    }
}

#[test]
fn deep_nesting_is_refused_before_it_is_parsed() {
    let inner = "<value><i4>1</i4></value>";
    assert!(parse_call(nested(8, inner).as_bytes()).is_ok());
    for hidden in [
        nested(1300, inner),
        // Closing tags the parser does not take for such must not lower the count. One more than
        // was opened, for a counter that takes what they hide in for a tag.
        nested(1, "").replace(
            "<value>",
            &"<value><array><data><?x ></a></a></a></a> ?>".repeat(1000),
        ),
        nested(1, "").replace(
            "<value>",
            &"<value><array><data><!-- ></a></a></a></a> -->".repeat(1000),
        ),
        nested(1, "").replace(
            "<value>",
            &"<value><array><data a='></a></a></a></a>'>".repeat(1000),
        ),
    ] {
        assert!(hidden.len() <= BODY_MAX);
        // A small stack, so that a parser that did recurse would not survive.
        let body = hidden.clone();
        let parsed = std::thread::Builder::new()
            .stack_size(256 * 1024)
            .spawn(move || parse_call(body.as_bytes()))
            .unwrap()
            .join()
            .unwrap();
        assert!(
            matches!(parsed, Err(Malformed::TooDeep | Malformed::Declaration)),
            "{parsed:?}"
        );
    }
}

#[test]
fn control_characters_of_a_log_are_made_legible() {
    assert_eq!(
        text(b"\x1b[31mred\x1b[0m\r\n\t\xff"),
        "\u{fffd}[31mred\u{fffd}[0m\r\n\t\u{fffd}"
    );
    let shown = render(Ok(Value::Array(vec![Value::String(
        "a\x00<&>\u{ffff}".into(),
    )])))
    .unwrap();
    assert!(shown.contains("a\u{fffd}&lt;&amp;&gt;\u{fffd}"), "{shown}");
}

#[test]
fn faults_travel_as_answers() {
    let fault = super::super::fault::Fault::new(super::super::fault::Code::BadName, "x\x01");
    let shown = render(Err(fault)).unwrap();
    let read = FaultResponse::from_xml(&shown).unwrap();
    assert_eq!(
        (read.fault.code(), read.fault.string()),
        (10, "BAD_NAME: x\u{fffd}")
    );
}

proptest! {
    #[test]
    fn random_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let _ = parse_call(&body);
    }

    #[test]
    fn mutated_requests_never_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..12),
    ) {
        let mut body = REQUEST.as_bytes().to_vec();
        for (at, byte, how) in changes {
            if body.is_empty() {
                break;
            }
            let at = at.index(body.len());
            match how {
                0 => body[at] = byte,
                1 => body.insert(at, byte),
                _ => { body.drain(at..(at + usize::from(byte) % 40).min(body.len())); }
            }
        }
        let _ = parse_call(&body);
    }

    #[test]
    fn any_text_survives_the_way(string in "[^\u{0}-\u{8}\u{b}-\u{1f}\u{fffe}\u{ffff}]*") {
        let shown = render(Ok(Value::String(string.clone()))).unwrap();
        let read = MethodResponse::from_xml(&shown).unwrap();
        prop_assert_eq!(read.value, Value::String(string));
    }
}
