//! host-agent/sys
