use super::*;

fn no_env(_: &str) -> Option<String> {
    None
}

fn with_file(text: &str) -> (tempfile::TempDir, ConfigArgs) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    std::fs::write(&path, text).unwrap();
    let args = ConfigArgs {
        config: Some(path),
        ..ConfigArgs::default()
    };
    (dir, args)
}

#[test]
fn nothing_given_is_a_configuration() {
    let config = Config::load(&ConfigArgs::default(), no_env).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:8443");
    assert_eq!(config.agent_names, ["localhost", "127.0.0.1", "::1"]);
    assert_eq!(config.heartbeat_interval, Duration::from_secs(15));
    assert!(config.tls_files.is_none());
}

#[test]
fn a_flag_beats_the_environment_and_that_the_file() {
    let (_dir, mut args) = with_file(
        "listen = '127.0.0.1:1'\nagent_listen = '127.0.0.1:1'\ndata_dir = '/file'\nagent_names = ['a.example']\n",
    );
    args.listen = Some("127.0.0.1:3".into());
    let env = |name: &str| match name {
        "ZHYLON_LISTEN" | "ZHYLON_AGENT_LISTEN" => Some("127.0.0.1:2".to_owned()),
        "ZHYLON_PUBLIC_NAMES" => Some("x.example, 10.0.0.1".to_owned()),
        _ => None,
    };
    let config = Config::load(&args, env).unwrap();
    assert_eq!(config.listen.port(), 3);
    assert_eq!(config.agent_listen.port(), 2);
    assert_eq!(config.data_dir, PathBuf::from("/file"));
    assert_eq!(config.agent_names, ["a.example"]);
    assert_eq!(config.public_names, ["x.example", "10.0.0.1"]);
}

#[test]
fn all_mistakes_are_told_at_once_with_their_keys() {
    let (_dir, mut args) = with_file(
        "listen = 'here'\nagent_listen = 5\npublic_names = []\nagent_names = ['a b']\ntrust_domain = 'A'\nlog_format = 'xml'\n\
         tls_key_file = '/nonexistent'\nheartbeat_interval_ms = 5\ndatadir = '/x'\n[tls]\ncert = 'x'\n",
    );
    args.data_dir = Some(String::new());
    let ConfigErrors(errors) = Config::load(&args, no_env).unwrap_err();
    for key in [
        "listen",
        "agent_listen",
        "public_names",
        "agent_names",
        "data_dir",
        "trust_domain",
        "log_format",
        "tls_certificate_file",
        "heartbeat_interval_ms",
        "datadir",
        "tls",
    ] {
        let prefix = format!("{key}: ");
        let hits = errors.iter().filter(|e| e.starts_with(&prefix)).count();
        assert_eq!(hits, 1, "{key} in {errors:#?}");
    }
    assert_eq!(errors.len(), 11, "{errors:#?}");
}

#[test]
fn files_that_can_not_be_used_are_mistakes_too() {
    let (_dir, mut args) = with_file("tls_certificate_file = '/nonexistent/a'");
    args.tls_key_file = Some("/nonexistent/b".into());
    let ConfigErrors(errors) = Config::load(&args, no_env).unwrap_err();
    assert!(errors[0].starts_with("tls_certificate_file: /nonexistent/a: "));
    assert!(errors[1].starts_with("tls_key_file: /nonexistent/b: "));
    let (_dir, args) = with_file("listen = ");
    assert_eq!(Config::load(&args, no_env).unwrap_err().0.len(), 1);
    let args = ConfigArgs {
        config: Some("/nonexistent/c".into()),
        ..ConfigArgs::default()
    };
    let ConfigErrors(errors) = Config::load(&args, no_env).unwrap_err();
    assert!(errors[0].starts_with("/nonexistent/c: "), "{errors:?}");
}
