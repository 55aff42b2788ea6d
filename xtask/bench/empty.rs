//! What a process costs: a program of the client's kind (Rust, dynamic glibc) that does nothing.

fn main() {}
