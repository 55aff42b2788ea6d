//! host-agent/keeper
