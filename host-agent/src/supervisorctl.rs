//! The client of the local socket.
