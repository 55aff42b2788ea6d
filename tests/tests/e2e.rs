//! The whole system, from outside. One test program: the programs under test are built once.

mod e2e {
    mod bad_input;
    mod beside_supervisor;
    mod deploy_line;
    mod doctor;
    mod events;
    mod first_minutes;
    mod follow;
    mod holds;
    mod host_policy;
    mod hostile;
    mod identity;
    mod laravel;
    mod local_door;
    mod log_rules;
    mod older_kernel;
    mod reactphp;
    mod reboot;
    mod rolling;
    mod schema;
    mod survival;
    mod trespass;
    mod viewers;
}
