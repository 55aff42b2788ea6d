use std::process::{Child, Command};

use super::*;

fn run(daemon: DaemonId, index: u32, generation: u64) -> Run {
    let slot = Slot { daemon, index };
    Run { slot, generation }
}

struct Program(Child);

impl Program {
    fn new(shell: &str) -> Self {
        Self(Command::new("sh").args(["-c", shell]).spawn().unwrap())
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_look_is_due_soon_after_a_start_then_seldom_and_tells_only_what_changed() {
    let daemon = DaemonId::random().unwrap();
    let (idle, busy) = (
        Program::new("exec sleep 1000"),
        Program::new("while :; do :; done"),
    );
    // It must have become its program before it is looked at.
    let comm = format!("/proc/{}/comm", idle.pid());
    while std::fs::read_to_string(&comm).unwrap() != "sleep\n" {
        std::thread::yield_now();
    }
    let (first, second) = (run(daemon, 0, 1), run(daemon, 1, 1));
    let mut usages = Usages::default();
    assert_eq!(usages.due(), None, "nothing runs");
    let begin = Instant::now();
    usages.began(begin);
    assert_eq!(usages.due(), Some(begin + FIRST));

    let tree = |pid, run: &Run| Tree::marked(pid, None, &run.slot, "x");
    let trees = [tree(idle.pid(), &first), tree(busy.pid(), &second)];
    let both = || {
        [
            (&first, idle.pid(), &trees[0]),
            (&second, busy.pid(), &trees[1]),
        ]
    };
    assert!(usages.look(begin, both().into_iter()).is_empty(), "not due");
    let due = usages.due().unwrap();
    assert_eq!(usages.look(due, both().into_iter()), [daemon, daemon]);
    let told = usages.of(&daemon);
    assert!(told[&0].now.unwrap().memory > 4096);
    assert!(usages.due().unwrap() >= due + EVERY);

    // Until the busy one has used what is worth telling.
    let used = |usages: &Usages| usages.of(&daemon)[&1].now.unwrap().cpu;
    let before = used(&usages);
    while host_agent_sys::usage::cpu_time(busy.pid()).unwrap() < before + CPU_STEP {
        std::thread::yield_now();
    }
    let due = usages.due().unwrap();
    assert_eq!(usages.look(due, [both()[1]].into_iter()), [daemon]);
    assert!(used(&usages) >= before + CPU_STEP);
    usages.forget(&daemon);
    assert!(usages.of(&daemon).is_empty());
}

#[test]
fn what_does_not_run_uses_nothing_and_a_new_generation_begins_anew() {
    let daemon = DaemonId::random().unwrap();
    let program = Program::new("exec sleep 1000");
    let (old, new) = (run(daemon, 0, 1), run(daemon, 0, 2));
    let tree = Tree::marked(program.pid(), None, &old.slot, "x");
    let mut usages = Usages::default();
    let now = Instant::now();
    usages.began(now);
    usages.look(now + FIRST, [(&old, program.pid(), &tree)].into_iter());
    assert!(usages.of(&daemon)[&0].now.is_some());
    usages.ended(&old, &tree);
    assert_eq!(usages.of(&daemon)[&0], Usage::default());

    let due = usages.due().unwrap();
    usages.look(due, [(&new, program.pid(), &tree)].into_iter());
    assert!(usages.of(&daemon)[&0].now.is_some());
    usages.ended(&old, &tree);
    assert!(
        usages.of(&daemon)[&0].now.is_some(),
        "an older one's end is heard late"
    );
    let due = usages.due().unwrap();
    usages.look(due, std::iter::empty());
    assert_eq!(usages.due(), None, "an empty host is not woken");
}

#[test]
fn memory_without_a_cgroup_is_what_the_kernel_calls_resident() {
    let program = Program::new("exec sleep 1000");
    let pid = program.pid();
    let comm = format!("/proc/{pid}/comm");
    while std::fs::read_to_string(&comm).unwrap() != "sleep\n" {
        std::thread::yield_now();
    }
    let kernels = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.unwrap().split_whitespace().nth(1).unwrap();
        1024 * kib.parse::<u64>().unwrap()
    };
    // It grows until it sleeps; the kernel itself counts these two by slightly different pages.
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let (before, ours) = (kernels(), resident(pid).unwrap());
        if before == kernels() && ours.abs_diff(before) <= before / 4 {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "{before} by the kernel, {ours} by us"
        );
        std::thread::yield_now();
    }
}

#[test]
fn a_new_generation_has_nothing_of_the_old_one_whose_end_is_heard_later() {
    let daemon = DaemonId::random().unwrap();
    let program = Program::new("exec sleep 1000");
    let (old, new) = (run(daemon, 0, 1), run(daemon, 0, 2));
    let tree = Tree::marked(program.pid(), None, &old.slot, "x");
    let mut usages = Usages::default();
    let now = Instant::now();
    usages.began(now);
    usages.look(now + FIRST, [(&old, program.pid(), &tree)].into_iter());
    assert!(usages.of(&daemon)[&0].now.is_some());
    // It uses exactly what the old one did, and that is news.
    let due = usages.due().unwrap();
    let news = usages.look(due, [(&new, program.pid(), &tree)].into_iter());
    assert_eq!(news, [daemon]);
    usages.ended(&old, &tree);
    assert!(usages.of(&daemon)[&0].now.is_some());
}

#[test]
fn a_look_at_many_is_followed_by_a_long_rest() {
    let daemon = DaemonId::random().unwrap();
    let program = Program::new("exec sleep 1000");
    let runs: Vec<Run> = (0..1000).map(|index| run(daemon, index, 1)).collect();
    let tree = Tree::marked(program.pid(), None, &runs[0].slot, "x");
    let mut usages = Usages::default();
    usages.began(Instant::now() - FIRST);
    let all = || runs.iter().map(|run| (run, program.pid(), &tree));
    let began = Instant::now();
    assert_eq!(usages.look(began, all()).len(), 1000);
    let took = usages.rest_until.unwrap().duration_since(began) / REST;
    assert!(took > Duration::ZERO && took <= began.elapsed());
    // A start in between does not shorten it.
    usages.began(Instant::now());
    assert!(usages.due() >= usages.rest_until);
    let line = format!("\nusage: first look at 1000 processes {took:?}\n");
    std::io::Write::write_all(&mut std::io::stdout(), line.as_bytes()).unwrap();
}

#[test]
fn figures_of_a_cgroup_are_those_of_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let leaf = crate::spawn::cgroup::Leaf::at(dir.path().to_owned());
    assert_eq!(
        (leaf.cpu_time(), leaf.memory(), leaf.oom_kills()),
        (None, None, 0)
    );
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write(
        "cpu.stat",
        "usage_usec 2500000\nuser_usec 1\nsystem_usec 2\n",
    );
    write("memory.current", "12345678\n");
    write(
        "memory.events",
        "low 0\nhigh 0\nmax 7\noom 1\noom_kill 1\noom_group_kill 0\n",
    );
    let program = Program::new("exec sleep 1000");
    let tree = Tree::Leaf(leaf);
    let expected = Sample {
        cpu: Duration::from_millis(2500),
        memory: 12_345_678,
    };
    assert_eq!(sample(program.pid(), &tree, None), Some(expected));
    // What has not run since has the memory it had: the file is not read.
    write("memory.current", "1\n");
    assert_eq!(sample(program.pid(), &tree, Some(expected)), Some(expected));

    let daemon = DaemonId::random().unwrap();
    let mut usages = Usages::default();
    usages.ended(&run(daemon, 0, 1), &tree);
    assert!(usages.of(&daemon)[&0].oom_killed);
    write("memory.events", "oom_kill 0\n");
    usages.ended(&run(daemon, 0, 2), &tree);
    assert!(!usages.of(&daemon)[&0].oom_killed);
}
