//! Specs at rest: the spec as JSON without its environment, the environment's names, and its sealed values.

use zhylon_shared::id::DaemonId;
use zhylon_shared::spec::{DaemonSpec, SpecDraft};

use crate::domain::{Domain, Error};
use crate::store::DaemonRow;

/// A spec in the columns of its row.
pub(super) struct StoredSpec {
    pub(super) name: Option<String>,
    pub(super) spec: String,
    pub(super) environment: Vec<u8>,
    pub(super) environment_names: String,
}

impl Domain {
    pub(super) fn store_spec(&self, id: DaemonId, spec: &DaemonSpec) -> Result<StoredSpec, Error> {
        let names: Vec<&String> = spec.environment().keys().collect();
        let bare = SpecDraft {
            environment: Default::default(),
            ..SpecDraft::from(spec.clone())
        };
        let broken = |error: serde_json::Error| Error::Internal(format!("a spec: {error}"));
        Ok(StoredSpec {
            name: Some(spec.name().to_owned()).filter(|name| !name.is_empty()),
            spec: serde_json::to_string(&bare).map_err(broken)?,
            environment: self.key.seal(id, spec.environment())?,
            environment_names: serde_json::to_string(&names).map_err(broken)?,
        })
    }

    /// A stored spec with its environment in the clear.
    pub(in crate::domain) fn load_spec(&self, row: &DaemonRow) -> Result<DaemonSpec, Error> {
        let broken = |error: String| Error::Internal(format!("daemon {}: {error}", row.id));
        let mut draft: SpecDraft =
            serde_json::from_str(&row.spec).map_err(|error| broken(error.to_string()))?;
        draft.environment = self.key.open(row.id, &row.environment)?;
        DaemonSpec::check(draft).map_err(|error| broken(error.to_string()))
    }
}
