//! What to do with one slot, from what is wanted of it and where it stands. Pure; it never does it.

/// What is wanted of a slot: intent, never fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    /// It should run.
    Run,
    /// It should not.
    Stop,
}

/// Where an instance stands, as far as planning cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing of it there, on request.
    Resting,
    /// It ended by itself and stays so.
    Ended,
    /// Nothing of it there, but it will be started again.
    Waiting,
    /// A run is there, or on its way.
    Live,
    /// A run is being stopped on request.
    Ending,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing, or it is under way.
    Keep,
    /// Start it.
    Start,
    /// Stop it.
    Stop,
    /// Stop what is there and start it anew.
    Replace,
    /// Forget the slot.
    Remove,
}

/// `outdated`: its newest run is not the one wanted (another spec, or from before a restart). `surplus`: there should be
/// no such slot.
pub(crate) fn plan(goal: Goal, standing: Standing, outdated: bool, surplus: bool) -> Change {
    match (goal, standing) {
        (Goal::Stop, Standing::Resting) if surplus => Change::Remove,
        (Goal::Stop, Standing::Resting | Standing::Ending) => Change::Keep,
        (Goal::Stop, Standing::Ended | Standing::Waiting | Standing::Live) => Change::Stop,
        (Goal::Run, Standing::Resting) => Change::Start,
        (Goal::Run, Standing::Ending) => Change::Keep,
        (Goal::Run, Standing::Ended | Standing::Waiting | Standing::Live) if outdated => {
            Change::Replace
        }
        (Goal::Run, Standing::Ended | Standing::Waiting | Standing::Live) => Change::Keep,
    }
}

#[cfg(test)]
mod tests;
