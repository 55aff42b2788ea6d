//! The wire's own manners: buf lint, STANDARD and COMMENTS, without exceptions.

use std::process::Command;

use xtask::build::root;

/// Exactly this version: rules differ between versions.
const BUF: &str = "@bufbuild/buf@1.75.0";

#[test]
fn buf_lint_is_clean() {
    if Command::new("npm").arg("--version").output().is_err() {
        zhylon_tests::skip("buf_lint_is_clean", "npm is not installed");
        return;
    }
    let output = Command::new("npx")
        .args(["--yes", BUF, "lint"])
        .current_dir(root().join("proto"))
        .output()
        .expect("start npx");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
