//! The proto3 JSON mapping, with enum names cut to what people read (`RUNNING`) and times ending in `Z`.

use serde::Serialize;
use serde_json::Value;

use crate::exit::Failure;

/// Keys whose values are enum names; what a user can choose never stands under them.
const ENUM_KEYS: &[&str] = &[
    "state",
    "lastKnownState",
    "connectionState",
    "desiredState",
    "restartPolicy",
    "stopSignal",
    "restartOutcome",
    "reason",
    "type",
    "source",
];

const ENUM_PREFIXES: &[&str] = &[
    "INSTANCE_STATE_",
    "CONNECTION_STATE_",
    "DESIRED_STATE_",
    "RESTART_POLICY_",
    "STOP_SIGNAL_",
    "RESTART_OUTCOME_",
    "LOG_GAP_REASON_",
    "DAEMON_EVENT_TYPE_",
    "DAEMON_EVENT_SOURCE_",
];

/// A message as pretty JSON.
pub(crate) fn pretty(message: &impl Serialize) -> Result<String, Failure> {
    let broken =
        |error: serde_json::Error| Failure::new(1, format!("can not print the answer: {error}"));
    let mut value = serde_json::to_value(message).map_err(broken)?;
    tidy(&mut value);
    serde_json::to_string_pretty(&value).map_err(broken)
}

fn tidy(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields.iter_mut() {
                match value {
                    Value::String(text) if ENUM_KEYS.contains(&key.as_str()) => {
                        if let Some(short) = ENUM_PREFIXES.iter().find_map(|p| text.strip_prefix(p))
                        {
                            *text = short.to_owned();
                        }
                    }
                    Value::String(text) if is_time(key) => {
                        if let Some(utc) = text.strip_suffix("+00:00") {
                            *text = format!("{utc}Z");
                        }
                    }
                    other => tidy(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

fn is_time(key: &str) -> bool {
    key == "time" || key == "since" || key == "reportedAt" || key.ends_with("Time")
}

#[cfg(test)]
mod tests {
    use zhylon_proto::daemons::v1::{Daemon, DaemonStatus, DesiredState, InstanceState};

    #[test]
    fn enums_are_short_defaults_are_printed_and_users_text_stays() {
        let daemon = Daemon {
            command: "INSTANCE_STATE_RUNNING +00:00".to_owned(),
            desired_state: DesiredState::Running.into(),
            create_time: Some(pbjson_types::Timestamp {
                seconds: 1_800_000_000,
                nanos: 0,
            }),
            status: Some(DaemonStatus {
                state: InstanceState::Backoff.into(),
                ..DaemonStatus::default()
            }),
            ..Daemon::default()
        };
        let text = super::pretty(&daemon).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["desiredState"], "RUNNING");
        assert_eq!(json["status"]["state"], "BACKOFF");
        assert_eq!(json["status"]["reconciling"], false);
        assert_eq!(json["command"], "INSTANCE_STATE_RUNNING +00:00");
        assert_eq!(json["createTime"], "2027-01-15T08:00:00Z");
    }
}
