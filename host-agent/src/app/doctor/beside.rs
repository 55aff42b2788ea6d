//! A real Supervisor beside us: whether there is one, whose the socket is that its clients look for, and what that means.

use std::path::Path;

use super::{Finding, Patient};
use crate::socket::Alias;
use crate::supervisorctl::{Reach, beside};

/// Whom somebody reaches who looks where Supervisor's clients look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behind {
    /// Us, by our link.
    Us,
    Nobody,
    /// A socket or a link that is not ours.
    Another,
}

pub(super) fn supervisor(patient: &Patient<'_>) -> Vec<Finding> {
    let config = patient.config();
    // Of several agents on a host one is Supervisor's neighbour.
    let Some(path) = &config.supervisor_socket else {
        return Vec::new();
    };
    let socket = config.run_dir.join("supervisor.sock");
    let behind = match (std::fs::read_link(path), path.symlink_metadata()) {
        (Ok(target), _) if target == socket => Behind::Us,
        (_, Err(_)) => Behind::Nobody,
        _ => Behind::Another,
    };
    let alias = Alias {
        path: path.clone(),
        socket,
        etc: "/etc".into(),
    };
    let (found, by_hand) = beside().unzip();
    let by_hand = by_hand.unwrap_or_default();
    judge(
        alias.is_wanted_by_supervisor(),
        found,
        behind,
        path,
        &by_hand,
    )
}

fn judge(
    is_enabled: bool,
    reach: Option<Reach>,
    behind: Behind,
    path: &Path,
    by_hand: &str,
) -> Vec<Finding> {
    let path = path.display();
    match (reach, is_enabled, behind) {
        (Some(Reach::Hangs), ..) => {
            Finding::warn("a real Supervisor has its socket here and does not answer")
                .means("`supervisorctl status` waits for it and then shows our daemons alone")
                .remedy(format!("look at it: `systemctl status supervisor`, `{by_hand} status`"))
        }
        (Some(Reach::Answers), _, Behind::Us) => Finding::ok(format!(
            "a real one runs beside us, with a socket of its own; {path} leads to us; `supervisorctl` shows and moves \
             both"
        )),
        (Some(Reach::Answers), ..) => Finding::ok(format!(
            "a real one runs beside us and may have {path}; `supervisorctl` shows and moves both"
        )),
        (_, true, _) => Finding::warn("its service is enabled, and it can not be reached")
            .means(format!(
                "{path} is kept free for it: who looks there finds nobody, our own `supervisorctl` finds us"
            ))
            .remedy(
                "start it; or `systemctl disable --now supervisor`, if nothing needs it any more: then the agent takes \
                 its place within seconds",
            ),
        (_, false, Behind::Another) => {
            Finding::warn(format!("{path} is not ours, and nobody we know is behind it"))
                .means("who looks there for daemons does not find ours; our own `supervisorctl` does")
                .remedy(format!("if nothing needs it, remove {path}: the agent takes its place within seconds"))
        }
        (_, false, Behind::Nobody) => Finding::warn(format!("none here, and nothing at {path}"))
            .means("who looks there for daemons finds nobody; our own `supervisorctl` finds them")
            .remedy("look whether the agent runs, and at its log"),
        (_, false, Behind::Us) => Finding::ok(format!("none here; {path} leads to us")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level::{Ok, Warn};
    use super::*;

    #[test]
    fn every_neighbour_is_told_of_with_what_it_means() {
        let (answers, away) = (Some(Reach::Answers), Some(Reach::Away));
        for (enabled, reach, behind, level, found) in [
            (false, None, Behind::Us, Ok, "none here; /s leads to us"),
            (false, away, Behind::Us, Ok, "none here; /s leads to us"),
            (false, None, Behind::Nobody, Warn, "none here, and nothing"),
            (false, away, Behind::Another, Warn, "/s is not ours"),
            (true, away, Behind::Nobody, Warn, "its service is enabled"),
            (true, None, Behind::Another, Warn, "its service is enabled"),
            (
                true,
                answers,
                Behind::Another,
                Ok,
                "a real one runs beside us and",
            ),
            (
                false,
                answers,
                Behind::Us,
                Ok,
                "a real one runs beside us, with",
            ),
            (
                true,
                Some(Reach::Hangs),
                Behind::Another,
                Warn,
                "a real Supervisor has",
            ),
            (
                false,
                Some(Reach::Hangs),
                Behind::Us,
                Warn,
                "a real Supervisor has",
            ),
        ] {
            let told = judge(enabled, reach, behind, Path::new("/s"), "theirs");
            assert_eq!((told.len(), told[0].level), (1, level), "{told:?}");
            assert!(told[0].found.starts_with(found), "{told:?}");
            assert_eq!(told[0].remedy.is_empty(), level == Ok, "{told:?}");
            assert_eq!(told[0].means.is_empty(), level == Ok, "{told:?}");
        }
    }
}
