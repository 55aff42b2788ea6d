//! tracing set-up shared by the programs: one line per event on stderr, as text for people or JSON for machines.

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::writer::MakeWriterExt as _;

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

impl std::str::FromStr for LogFormat {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("must be `text` or `json`".to_owned()),
        }
    }
}

/// Starts logging to stderr. `filter` is an `EnvFilter` directive such as `info` or `info,api_server=debug`.
///
/// # Errors
/// When the filter is malformed or logging was started before.
pub fn init(format: LogFormat, filter: &str) -> Result<(), String> {
    start(format, filter, io::stderr)
}

/// As [`init`]; every line is also written to what `copy` returns.
///
/// # Errors
/// As [`init`].
pub fn init_copying<W: io::Write + 'static>(
    format: LogFormat,
    filter: &str,
    copy: impl Fn() -> W + Send + Sync + 'static,
) -> Result<(), String> {
    start(format, filter, io::stderr.and(copy))
}

fn start<W>(format: LogFormat, filter: &str, writer: W) -> Result<(), String>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("log filter: {error}"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer);
    match format {
        LogFormat::Text => builder.with_ansi(false).with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    }
    .map_err(|error| error.to_string())
}
