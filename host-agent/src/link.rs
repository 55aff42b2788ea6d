//! The link to the api-server.
