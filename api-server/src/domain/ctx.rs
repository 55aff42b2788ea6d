//! What every call carries: who calls, by which rule, under which request id.

use zhylon_shared::id::TokenId;

use crate::access::{Actor, Rule};

/// A call.
#[derive(Debug, Clone)]
pub struct Ctx {
    /// Who calls.
    pub actor: Actor,
    /// The token that was shown.
    pub token: TokenId,
    /// The rule of the method that was called.
    pub rule: &'static Rule,
    /// Names this call in our log.
    pub request_id: String,
}
