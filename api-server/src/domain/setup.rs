//! The first operator, user, team and tokens of an empty database.

use zhylon_shared::id::{TeamId, UserId};
use zhylon_shared::redact::Secret;

use super::Error;
use crate::clock::Clock;
use crate::store::Store;

/// Names for what is made.
#[derive(Debug, Clone)]
pub struct BootstrapNames {
    /// Of the platform operator.
    pub operator: String,
    /// Of the first user.
    pub owner: String,
    /// Of that user's team.
    pub team: String,
}

/// What was made. The tokens are shown this once.
#[derive(Debug)]
pub struct Bootstrap {
    /// The platform operator and its token.
    pub operator: (UserId, Secret),
    /// The first team's owner and its token.
    pub owner: (UserId, Secret),
    /// The first team.
    pub team: TeamId,
}

/// Makes them, all or nothing.
///
/// # Errors
/// When a name breaks a rule, or there is an operator already.
pub async fn bootstrap(
    store: &Store,
    clock: &Clock,
    names: BootstrapNames,
) -> Result<Bootstrap, Error> {
    let _ = (store, clock, names);
    todo!("owner: api")
}
