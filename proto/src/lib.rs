//! Floor 0: the wire. Generated messages, clients and servers; this crate knows nothing of our rules.
//!
//! The sources are the `.proto` files beside it (`proto/`), linted by buf (STANDARD and COMMENTS).

/// `zhylon.daemons.v1`: the public API.
pub mod daemons {
    /// Version 1.
    pub mod v1 {
        #![allow(
            missing_docs,
            unreachable_pub,
            missing_debug_implementations,
            clippy::all,
            clippy::allow_attributes_without_reason,
            clippy::unwrap_used,
            reason = "generated code; the comments are in the .proto files"
        )]
        tonic::include_proto!("zhylon.daemons.v1");
        include!(concat!(env!("OUT_DIR"), "/zhylon.daemons.v1.serde.rs"));
    }
}

/// `zhylon.agent.v1`: what the host-agent and the api-server say to each other.
pub mod agent {
    /// Version 1.
    pub mod v1 {
        #![allow(
            missing_docs,
            unreachable_pub,
            missing_debug_implementations,
            clippy::all,
            clippy::allow_attributes_without_reason,
            clippy::unwrap_used,
            reason = "generated code; the comments are in the .proto files"
        )]
        tonic::include_proto!("zhylon.agent.v1");
    }
}

/// The encoded `FileDescriptorSet` of both packages and what they import, with comments.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
