use super::*;

#[test]
fn every_plan() {
    use Standing::{Ended, Ending, Live, Resting, Waiting};
    use std::fmt::Write as _;
    let mut table = String::new();
    for goal in [Goal::Run, Goal::Stop] {
        for standing in [Resting, Ended, Waiting, Live, Ending] {
            for outdated in [false, true] {
                for surplus in [false, true] {
                    let change = plan(goal, standing, outdated, surplus);
                    let outdated = if outdated { "outdated" } else { "current" };
                    let surplus = if surplus { "surplus" } else { "wanted" };
                    writeln!(
                        table,
                        "{goal:?} {standing:?} {outdated} {surplus}: {change:?}"
                    )
                    .unwrap();
                }
            }
        }
    }
    insta::assert_snapshot!(table);
}
