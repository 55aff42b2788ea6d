use std::time::Duration;

use zhylon_shared::id::DaemonId;
use zhylon_shared::spec::{DaemonSpec, SpecDraft};

use super::*;
use crate::effect::Effect;
use crate::input::{Exit, StartErrorKind};

const EVENTS: [&str; 9] = [
    "Start",
    "Stop",
    "Replace",
    "Spawned",
    "SpawnFailed",
    "Exited",
    "Exited, tree left",
    "TreeGone",
    "Deadline",
];

fn event(name: &str) -> Event {
    let exit = Exit::Code(1);
    match name {
        "Start" => Event::Start,
        "Stop" => Event::Stop,
        "Replace" => Event::Replace,
        "Spawned" => Event::Spawned { pid: 7 },
        "SpawnFailed" => Event::SpawnFailed(StartError {
            message: "no".to_owned(),
            kind: StartErrorKind::NoFile,
        }),
        "Exited" => Event::Exited {
            exit,
            tree_gone: true,
        },
        "Exited, tree left" => Event::Exited {
            exit,
            tree_gone: false,
        },
        "TreeGone" => Event::TreeGone,
        "Deadline" => Event::Deadline,
        other => panic!("{other}"),
    }
}

/// The roads to every phase, by events alone, and what is wanted of the instance then. Lower-case steps change its spec.
const ROADS: [(&str, &[&str], Goal); 20] = [
    ("Stopped", &[], Goal::Stop),
    (
        "Exited",
        &["never", "Start", "Spawned", "Exited"],
        Goal::Run,
    ),
    (
        "Fatal",
        &[
            "one retry",
            "Start",
            "Spawned",
            "Exited",
            "Deadline",
            "Spawned",
            "Exited",
        ],
        Goal::Run,
    ),
    (
        "Pausing",
        &["at once", "Start", "Spawned", "recycle"],
        Goal::Run,
    ),
    ("Backoff", &["Start", "SpawnFailed"], Goal::Run),
    ("Spawning", &["Start"], Goal::Run),
    ("Starting", &["Start", "Spawned"], Goal::Run),
    ("Running", &["Start", "Spawned", "Deadline"], Goal::Run),
    ("Aborting, to stop", &["Start", "Stop"], Goal::Stop),
    ("Aborting, to run", &["Start", "Replace"], Goal::Run),
    (
        "Stopping, to stop",
        &["Start", "Spawned", "Stop"],
        Goal::Stop,
    ),
    (
        "Stopping, to run",
        &["Start", "Spawned", "Replace"],
        Goal::Run,
    ),
    (
        "Stopping, killed",
        &["Start", "Spawned", "Stop", "Deadline"],
        Goal::Stop,
    ),
    (
        "Clearing, to stop",
        &["Start", "Spawned", "Stop", "Exited, tree left"],
        Goal::Stop,
    ),
    (
        "Clearing, to run",
        &["Start", "Spawned", "Replace", "Exited, tree left"],
        Goal::Run,
    ),
    (
        "Clearing, killed",
        &["Start", "Spawned", "Stop", "Exited, tree left", "Deadline"],
        Goal::Stop,
    ),
    (
        "Leftover, to respawn",
        &["Start", "Spawned", "Deadline", "Exited, tree left"],
        Goal::Run,
    ),
    (
        "Leftover, to back off",
        &["Start", "Spawned", "Exited, tree left"],
        Goal::Run,
    ),
    (
        "Leftover, to exit",
        &["never", "Start", "Spawned", "Exited, tree left"],
        Goal::Run,
    ),
    (
        "Leftover, killed",
        &[
            "Start",
            "Spawned",
            "Deadline",
            "Exited, tree left",
            "Deadline",
        ],
        Goal::Run,
    ),
];

fn travel(road: &[&str], goal: Goal) -> (Ctx, Instance, Order) {
    let mut draft = SpecDraft {
        command: "serve".to_owned(),
        ..SpecDraft::default()
    };
    let mut ctx = Ctx::new(0);
    ctx.now = Time::new(Duration::from_secs(100));
    let mut events = Vec::new();
    for step in road {
        match *step {
            "never" => draft.restart_policy = Some(zhylon_shared::spec::RestartPolicy::Never),
            "one retry" => draft.max_retries = 1,
            "at once" => draft.start_seconds = Some(0),
            "recycle" => events.push(Event::Exited {
                exit: Exit::Code(0),
                tree_gone: true,
            }),
            name => events.push(event(name)),
        }
    }
    let spec = Arc::new(DaemonSpec::check(draft).unwrap());
    let order = Order {
        spec,
        restart_generation: 0,
        restart_strategy: RestartStrategy::AllAtOnce,
    };
    let daemon = DaemonId::from_bare("000000000000000001").unwrap();
    let mut instance = Instance::new(&mut ctx, Slot { daemon, index: 0 });
    instance.set_goal(&mut ctx, goal);
    for event in events {
        instance.handle(&mut ctx, Some(&order), event);
    }
    ctx.out.flush();
    while ctx.out.pop().is_some() {}
    (ctx, instance, order)
}

fn name(phase: &Phase) -> String {
    let text = format!("{phase:?}");
    text.split(['(', ' ']).next().unwrap().to_owned()
}

/// Where it goes and what it asks for; empty if nothing changes.
fn cell(road: &[&str], goal: Goal, event_name: &str) -> String {
    let (mut ctx, mut instance, order) = travel(road, goal);
    let before = *instance.phase();
    // The request changes the intent first, as the group does.
    match event_name {
        "Start" | "Replace" => instance.set_goal(&mut ctx, Goal::Run),
        "Stop" => instance.set_goal(&mut ctx, Goal::Stop),
        _ => {}
    }
    instance.handle(&mut ctx, Some(&order), event(event_name));
    ctx.out.flush();
    let mut parts = Vec::new();
    let after = *instance.phase();
    if name(&before) != name(&after)
        || before.live().map(|l| l.generation) != after.live().map(|l| l.generation)
    {
        parts.push(format!("→ {}", name(&after)));
    } else if before != after {
        parts.push("noted".to_owned());
    }
    while let Some(effect) = ctx.out.pop() {
        parts.push(match effect {
            Effect::Spawn { .. } => "Spawn".to_owned(),
            Effect::Signal { .. } => "Signal".to_owned(),
            Effect::SignalTree { .. } => "SignalTree".to_owned(),
            Effect::KillTree { .. } => "KillTree".to_owned(),
            Effect::Changed { .. } => continue,
            other => panic!("{other:?}"),
        });
    }
    parts.join(", ")
}

/// The match of `step.rs` as a table. If this fails after a change that is meant, write what it prints to `matrix.md`.
#[test]
fn the_documented_matrix_is_the_real_one() {
    use std::fmt::Write as _;
    let mut table = format!(
        "| | {} |\n|---|{}\n",
        EVENTS.join(" | "),
        "---|".repeat(EVENTS.len())
    );
    for (row, road, goal) in ROADS {
        let phase = name(travel(road, goal).1.phase());
        assert!(
            row.starts_with(&phase),
            "the road to {row} leads to {phase}"
        );
        let cells: Vec<String> = EVENTS.iter().map(|event| cell(road, goal, event)).collect();
        writeln!(table, "| **{row}** | {} |", cells.join(" | ")).unwrap();
    }
    insta::assert_snapshot!("matrix", table);
    assert_eq!(include_str!("../matrix.md"), table, "{table}");
}
