//! The first operator, user, team and tokens of an empty database.

use zhylon_shared::id::{TeamId, TokenId, UserId};
use zhylon_shared::redact::Secret;
use zhylon_shared::spec::check_display_name;
use zhylon_shared::token::{self, BearerToken};

use super::{Error, Precondition};
use crate::clock::Clock;
use crate::store::{self, FirstRows, FirstToken, Store};

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
    let bad: Vec<_> = [
        check_display_name("operator", &names.operator),
        check_display_name("owner", &names.owner),
        check_display_name("team", &names.team),
    ]
    .into_iter()
    .filter_map(Result::err)
    .collect();
    if !bad.is_empty() {
        return Err(Error::Invalid(bad));
    }
    let (operator, operator_token) = person(names.operator)?;
    let (owner, owner_token) = person(names.owner)?;
    let made = Bootstrap {
        operator: (operator.user, operator_token),
        owner: (owner.user, owner_token),
        team: TeamId::random()?,
    };
    let first = FirstRows {
        operator,
        owner,
        team: made.team,
        team_name: names.team,
        now: clock.wall(),
    };
    match store.bootstrap(&first).await {
        Ok(()) => Ok(made),
        Err(store::Error::Taken) => Err(Error::Precondition(Precondition::OperatorExists)),
        Err(error) => Err(error.into()),
    }
}

fn person(name: String) -> Result<(FirstToken, Secret), Error> {
    let bearer = BearerToken {
        id: TokenId::random()?,
        secret: token::new_secret()?,
    };
    let first = FirstToken {
        user: UserId::random()?,
        name,
        token: bearer.id,
        secret_hash: token::hash(&bearer.secret),
    };
    Ok((first, bearer.to_text()))
}
