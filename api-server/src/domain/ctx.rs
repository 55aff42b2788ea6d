//! What every call carries: who calls, by which rule, under which request id.

use zhylon_shared::id::TokenId;

use crate::access::{Actor, Rule};

/// A call.
#[derive(Debug, Clone)]
pub(crate) struct Ctx {
    /// Who calls.
    pub(crate) actor: Actor,
    /// The token that was shown.
    pub(crate) token: TokenId,
    /// The rule of the method that was called.
    pub(crate) rule: &'static Rule,
    /// Names this call in our log.
    pub(crate) request_id: String,
}
