//! `api-server admin …`: what is done beside the API, on the machine itself.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use zhylon_shared::redact::Secret;

use crate::app;
use crate::clock::Clock;
use crate::config::Config;
use crate::domain::{self, BootstrapNames};
use crate::files;

/// Makes the platform operator, a first user with the first team, and a token for each. The tokens go into files
/// that only their owner can read, and nowhere else.
#[derive(Debug, clap::Args)]
pub(crate) struct BootstrapArgs {
    /// Name of the platform operator
    #[arg(long, value_name = "NAME", default_value = "operator")]
    operator: String,
    /// Name of the first user, who owns the first team
    #[arg(long, value_name = "NAME")]
    owner: String,
    /// Name of the first team
    #[arg(long, value_name = "NAME")]
    team: String,
    /// New file for the operator's token
    #[arg(long, value_name = "FILE")]
    operator_token_file: PathBuf,
    /// New file for the first user's token
    #[arg(long, value_name = "FILE")]
    owner_token_file: PathBuf,
    /// Print the ids as JSON
    #[arg(long)]
    json: bool,
}

#[cfg(test)]
impl BootstrapArgs {
    pub(crate) fn new(
        owner: &str,
        team: &str,
        operator_file: PathBuf,
        owner_file: PathBuf,
    ) -> Self {
        Self {
            operator: "operator".to_owned(),
            owner: owner.to_owned(),
            team: team.to_owned(),
            operator_token_file: operator_file,
            owner_token_file: owner_file,
            json: true,
        }
    }
}

/// Carries it out, all or nothing; returns what to print.
///
/// # Errors
/// When a file is there already or can not be made, a name breaks a rule, there is an operator already, or the
/// database is in use.
pub(crate) async fn bootstrap(config: &Config, args: BootstrapArgs) -> anyhow::Result<String> {
    // Before anything is made: tokens are shown once, so there must be a place for them.
    let operator_file = TokenFile::make(&args.operator_token_file)?;
    let owner_file = TokenFile::make(&args.owner_token_file)?;
    let store = app::open_store(config).await?;
    let names = BootstrapNames {
        operator: args.operator,
        owner: args.owner,
        team: args.team,
    };
    let made = domain::bootstrap(&store, &Clock::system(), names).await?;
    operator_file.keep(&made.operator.1)?;
    owner_file.keep(&made.owner.1)?;
    Ok(if args.json {
        format!(
            "{:#}",
            serde_json::json!({
                "operator_id": made.operator.0.to_string(),
                "owner_id": made.owner.0.to_string(),
                "team_id": made.team.to_string(),
            })
        )
    } else {
        format!(
            "operator {}, token in {}\nowner    {}, token in {}\nteam     {}",
            made.operator.0,
            args.operator_token_file.display(),
            made.owner.0,
            args.owner_token_file.display(),
            made.team
        )
    })
}

/// An empty file, 0600, that goes again unless a token was written into it.
struct TokenFile<'a> {
    path: &'a Path,
    file: File,
    kept: bool,
}

impl<'a> TokenFile<'a> {
    fn make(path: &'a Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(files::PRIVATE)
            .open(path)
            .with_context(|| {
                format!(
                    "can not make the token file {} (it must not be there yet)",
                    path.display()
                )
            })?;
        Ok(Self {
            path,
            file,
            kept: false,
        })
    }

    fn keep(mut self, token: &Secret) -> anyhow::Result<()> {
        // Kept even when half written: what is in it can not be had again.
        self.kept = true;
        writeln!(self.file, "{}", token.expose())
            .and_then(|()| self.file.sync_all())
            .with_context(|| format!("can not write the token file {}", self.path.display()))
    }
}

impl Drop for TokenFile<'_> {
    fn drop(&mut self) {
        if !self.kept {
            let _ = std::fs::remove_file(self.path);
        }
    }
}
