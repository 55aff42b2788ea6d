//! The first operator, user, team and tokens of an empty database.

use zhylon_shared::id::{TeamId, UserId};
use zhylon_shared::redact::Secret;

use super::Error;
use crate::clock::Clock;
use crate::store::Store;

/// Names for what is made.
#[derive(Debug, Clone)]
pub(crate) struct BootstrapNames {
    /// Of the platform operator.
    pub(crate) operator: String,
    /// Of the first user.
    pub(crate) owner: String,
    /// Of that user's team.
    pub(crate) team: String,
}

/// What was made. The tokens are shown this once.
#[derive(Debug)]
pub(crate) struct Bootstrap {
    /// The platform operator and its token.
    pub(crate) operator: (UserId, Secret),
    /// The first team's owner and its token.
    pub(crate) owner: (UserId, Secret),
    /// The first team.
    pub(crate) team: TeamId,
}

/// Makes them, all or nothing.
///
/// # Errors
/// When a name breaks a rule, or there is an operator already.
pub(crate) async fn bootstrap(
    store: &Store,
    clock: &Clock,
    names: BootstrapNames,
) -> Result<Bootstrap, Error> {
    let _ = (store, clock, names);
    todo!("owner: api")
}
