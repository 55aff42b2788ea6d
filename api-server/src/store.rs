//! Floor 2: the database. The only room that speaks SQL. Every public function is one statement or one transaction, so
//! nothing is ever half written; what a server should run changes only together with its revision.
//!
//! One SQL text with `$n` placeholders serves every database we support; [`Db`] has one arm for each.

mod error;

pub use error::StoreError as Error;

use std::path::Path;

/// The database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {}

impl Store {
    /// Opens (and creates or migrates) an SQLite file. The file and its lock are readable by their owner only.
    ///
    /// # Errors
    /// When another api-server has it open, the file can not be used, or is from a newer version.
    pub async fn open_sqlite(path: &Path) -> Result<Self, Error> {
        let _ = path;
        todo!("owner: api")
    }
}
