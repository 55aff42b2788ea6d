//! What differs between databases in the schema: a few words, put in for their tokens before a migration runs.

use std::borrow::Cow;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, SqlSafeStr as _};

/// The words of one database.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dialect {
    /// Type of byte strings.
    pub(super) blob: &'static str,
    /// Type of ids: a text ordered by its bytes.
    pub(super) key: &'static str,
}

/// SQLite's.
pub(super) const SQLITE: Dialect = Dialect {
    blob: "BLOB",
    key: "TEXT",
};

/// All migrations, oldest first. One that was released is never changed: its checksum lies in every database.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "spine", include_str!("../../migrations/0001_spine.sql")),
    (
        2,
        "events",
        include_str!("../../migrations/0002_events.sql"),
    ),
    (
        3,
        "restart strategy",
        include_str!("../../migrations/0003_restart_strategy.sql"),
    ),
    (
        4,
        "identity",
        include_str!("../../migrations/0004_identity.sql"),
    ),
];

impl Dialect {
    /// The migrations in this dialect.
    pub(super) fn migrator(&self) -> Migrator {
        let migrations = MIGRATIONS.iter().map(|(version, name, sql)| {
            let sql = sql.replace("{BLOB}", self.blob).replace("{KEY}", self.key);
            // Our own text, compiled in.
            let sql = AssertSqlSafe(sql).into_sql_str();
            Migration::new(
                *version,
                Cow::Borrowed(*name),
                MigrationType::Simple,
                sql,
                false,
            )
        });
        Migrator::with_migrations(migrations.collect())
    }
}
