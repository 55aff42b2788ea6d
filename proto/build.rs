//! Compiles the protobuf files in pure Rust (no protoc on the machine) and keeps the descriptor set for reflection.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = [
        "zhylon/daemons/v1/daemon.proto",
        "zhylon/daemons/v1/daemon_event.proto",
        "zhylon/daemons/v1/daemon_service.proto",
        "zhylon/daemons/v1/log_service.proto",
        "zhylon/daemons/v1/server_service.proto",
        "zhylon/daemons/v1/team_service.proto",
        "zhylon/daemons/v1/token_service.proto",
        "zhylon/daemons/v1/user_service.proto",
        "zhylon/agent/v1/agent_service.proto",
    ];
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(files)?;
    let encoded = compiler.encode_file_descriptor_set();
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), &encoded)?;

    tonic_prost_build::configure()
        // Both ends bring their own TLS and listeners; and `AgentService.Connect` would collide with `connect`.
        .build_transport(false)
        .compile_well_known_types(true)
        .extern_path(".google.protobuf", "::pbjson_types")
        .bytes(".zhylon.agent.v1.LogData.data")
        .bytes(".zhylon.daemons.v1.LogChunk.data")
        .compile_fds(compiler.file_descriptor_set())?;

    // serde implementations: the proto3 JSON mapping with default values printed, for people and `-o json`.
    pbjson_build::Builder::new()
        .register_descriptors(&encoded)?
        .emit_fields()
        .build(&[".zhylon.daemons.v1"])?;
    Ok(())
}
