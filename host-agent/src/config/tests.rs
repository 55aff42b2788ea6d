use super::*;

fn caller(uid: u32) -> Caller {
    Caller {
        uid,
        name: if uid == 0 { "root" } else { "anna" }.to_owned(),
        home: "/home/anna".into(),
        xdg_state: None,
        xdg_runtime: (uid != 0).then(|| "/run/user/1001".into()),
        xdg_config: None,
    }
}

fn parse(text: &str, uid: u32) -> Result<Settings, InvalidConfig> {
    Settings::parse(text, Overrides::default(), &caller(uid))
}

#[test]
fn an_empty_file_gives_the_defaults() {
    let root = parse("", 0).unwrap();
    assert_eq!(
        root.config.state_dir.to_str(),
        Some("/var/lib/zhylon-agent")
    );
    assert_eq!(root.config.run_dir.to_str(), Some("/run/zhylon-agent"));
    assert_eq!(root.config.policy.users, ["zhylon"]);
    assert!(root.config.policy.home_users);
    assert_eq!(root.log.filter, "info");

    assert_eq!(root.config.operators.users, ["zhylon"]);
    assert_eq!(root.config.operators.groups, ["sudo", "admin", "wheel"]);

    let anna = parse("", 1001).unwrap().config;
    assert_eq!(
        anna.state_dir.to_str(),
        Some("/home/anna/.local/state/zhylon-agent")
    );
    assert_eq!(anna.run_dir.to_str(), Some("/run/user/1001/zhylon-agent"));
}

#[test]
fn everything_wrong_is_told_at_once_with_its_key() {
    let text = "
        state_dir = 7
        run_dir = 'here'
        log_format = 'xml'
        supervisor_socket = 'supervisor.sock'
        logfile = 'x'
        [policy]
        users = ['anna', 3]
        home_users = 'yes'
        groups = []
        [operators]
        users = 'anna'
        groups = [1]
        policy = 1
    ";
    let InvalidConfig(errors) = parse(text, 0).unwrap_err();
    for expected in [
        "state_dir: must be a text, is a value of type integer",
        "run_dir: must be an absolute path, is `here`",
        "supervisor_socket: must be an absolute path, is `supervisor.sock`",
        "log_format: must be `text` or `json`",
        "logfile: there is no such key",
        "policy.users: must be a list of user names, is a value of type array",
        "policy.home_users: must be true or false, is a value of type string",
        "policy.groups: there is no such key",
        "operators.users: must be a list of user names, is a value of type string",
        "operators.groups: must be a list of group names, is a value of type array",
        "operators.policy: there is no such key",
    ] {
        assert!(
            errors.iter().any(|e| e == expected),
            "{expected}: {errors:#?}"
        );
    }
    assert_eq!(errors.len(), 11, "{errors:#?}");
}

#[test]
fn only_the_hosts_own_agent_takes_supervisors_place() {
    let taken = |text: &str, uid| {
        let config = parse(text, uid).unwrap().config;
        config
            .supervisor_socket
            .map(|path| path.display().to_string())
    };
    assert_eq!(taken("", 0).as_deref(), Some("/run/supervisor.sock"));
    assert_eq!(taken("supervisor_socket = ''", 0), None);
    assert_eq!(taken("run_dir = '/run/second'", 0), None);
    assert_eq!(taken("", 1001), None);
    let chosen = "run_dir = '/run/second'\nsupervisor_socket = '/run/x.sock'";
    assert_eq!(taken(chosen, 0).as_deref(), Some("/run/x.sock"));
}

#[test]
fn flags_and_environment_stand_above_the_file() {
    let overrides = Overrides {
        state_dir: Some("/a".into()),
        log_filter: Some("debug".to_owned()),
        ..Overrides::default()
    };
    let text = "state_dir = '/b'\nrun_dir = '/c'\nlog_filter = 'warn'";
    let settings = Settings::parse(text, overrides, &caller(0)).unwrap();
    assert_eq!(settings.config.state_dir.to_str(), Some("/a"));
    assert_eq!(settings.config.run_dir.to_str(), Some("/c"));
    assert_eq!(settings.log.filter, "debug");
}

#[test]
fn root_is_refused_unless_listed() {
    let policy = parse("", 0).unwrap().config.policy;
    assert!(!policy.allows("root", 0, Path::new("/root")));
    assert!(!policy.allows("www-data", 33, Path::new("/home/www")));
    assert!(!policy.allows("eve", 1002, Path::new("/srv/eve")));
    assert!(!policy.allows("eve", 1002, Path::new("/homeless")));
    assert!(policy.allows("anna", 1001, Path::new("/home/anna")));
    assert!(policy.allows("zhylon", 999, Path::new("/srv/zhylon")));
    let listed = parse("[policy]\nusers = ['root']\nhome_users = false", 0).unwrap();
    assert!(listed.config.policy.allows("root", 0, Path::new("/root")));
    assert!(
        !listed
            .config
            .policy
            .allows("anna", 1001, Path::new("/home/anna"))
    );
}

#[test]
fn without_root_the_policy_is_the_own_user_whatever_the_file_says() {
    let text = "[policy]\nusers = ['root', 'eve']\nhome_users = true";
    let policy = parse(text, 1001).unwrap().config.policy;
    assert!(policy.allows("anna", 1001, Path::new("/nowhere")));
    assert!(!policy.allows("eve", 1002, Path::new("/home/eve")));
    assert!(!policy.allows("root", 0, Path::new("/root")));
}
