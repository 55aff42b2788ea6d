use std::io::Write as _;
use std::process::{Command, Stdio};

use super::*;

#[test]
fn examples() {
    let words = |line| split(line).unwrap();
    assert_eq!(
        words("php artisan websockets:serve"),
        ["php", "artisan", "websockets:serve"]
    );
    assert_eq!(
        words(r#"bash -c "cd /x && exec php 'a b'""#),
        ["bash", "-c", "cd /x && exec php 'a b'"]
    );
    assert_eq!(words(r#"a '' "" # b"#), ["a", "", "", "#", "b"]);
    assert_eq!(words(r"a\ b"), ["a b"]);
    assert_eq!(words(" \t\r\n"), [""; 0]);
    assert_eq!(split("'a"), Err(SplitError::NoClosingQuotation));
    assert_eq!(split("a\\"), Err(SplitError::NoEscapedCharacter));
}

/// Python is the judge: 20 000 lines made of the characters that matter.
#[test]
fn agrees_with_python() {
    const ALPHABET: &[char] = &[
        'a', 'b', ' ', '\t', '\n', '\r', '\'', '"', '\\', '#', '%', '$', 'ä', ';', '\u{0b}',
        '\u{a0}',
    ];
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let lines: Vec<String> = (0..20_000)
        .map(|_| {
            let len = next() % 14;
            (0..len)
                .map(|_| ALPHABET[(next() % ALPHABET.len() as u64) as usize])
                .collect()
        })
        .collect();
    let script = "import json,shlex,sys\nout=[]\nfor l in json.load(sys.stdin):\n try: out.append(shlex.split(l))\n except ValueError as e: out.append(str(e).lower())\njson.dump(out,sys.stdout)";
    let mut python = Command::new("python3")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is needed to judge our port of its shlex");
    let input = serde_json::to_vec(&lines).unwrap();
    python.stdin.take().unwrap().write_all(&input).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    let expected: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(expected.len(), lines.len());
    for (line, expected) in lines.iter().zip(expected) {
        let ours = match split(line) {
            Ok(words) => serde_json::to_value(words).unwrap(),
            Err(error) => serde_json::Value::String(error.to_string()),
        };
        assert_eq!(ours, expected, "{line:?}");
    }
}
