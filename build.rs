//! Compiles `proto/` with protox, so that no `protoc` is needed, and keeps the descriptor set for
//! reflection.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "proto/inference/grpc_service.proto",
        "proto/hilum/v1/probe.proto",
        "proto/hilum/v1/vision.proto",
    ];
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(files, ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), {
        use protox::prost::Message as _;
        descriptors.encode_to_vec()
    })?;
    let mut config = tonic_prost_build::Config::new();
    // By its name a message is found in the descriptors, for its JSON.
    config.enable_type_names();
    tonic_prost_build::configure()
        // Tensors stay slices of the message that they came in.
        .bytes(".")
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}
