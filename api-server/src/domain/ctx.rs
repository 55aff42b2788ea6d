//! What every call carries: who calls, with which token, by which rule.

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
}
