//! Rows as typed values, for any database: a cell is decoded as text, number or bytes and then read as what it means.

use std::time::SystemTime;

use zhylon_shared::id::{Id, Kind};

use super::from_millis;
use crate::access::PermissionSet;

type Broken = Box<dyn std::error::Error + Send + Sync>;

/// A value of a row.
pub(super) trait Cell: Sized {
    /// What the database holds.
    type Raw;
    /// Reads it.
    fn from_raw(raw: Self::Raw) -> Result<Self, Broken>;
}

macro_rules! plain {
    ($($type:ty),*) => {$(
        impl Cell for $type {
            type Raw = Self;
            fn from_raw(raw: Self) -> Result<Self, Broken> {
                Ok(raw)
            }
        }
    )*};
}

plain!(i64, bool, String, Vec<u8>);

impl<K: Kind> Cell for Id<K> {
    type Raw = String;
    fn from_raw(raw: String) -> Result<Self, Broken> {
        Ok(raw.parse()?)
    }
}

impl Cell for SystemTime {
    type Raw = i64;
    fn from_raw(raw: i64) -> Result<Self, Broken> {
        Ok(from_millis(raw))
    }
}

impl Cell for PermissionSet {
    type Raw = String;
    fn from_raw(raw: String) -> Result<Self, Broken> {
        raw.parse()
            .map_err(|_| format!("unknown permission in {raw:?}").into())
    }
}

impl<T: Cell> Cell for Option<T> {
    type Raw = Option<T::Raw>;
    fn from_raw(raw: Self::Raw) -> Result<Self, Broken> {
        raw.map(T::from_raw).transpose()
    }
}

/// Declares a struct whose fields are the columns of the same names.
macro_rules! row {
    ($(#[$meta:meta])* pub(crate) struct $name:ident { $($(#[$doc:meta])* pub(crate) $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        pub(crate) struct $name { $($(#[$doc])* pub(crate) $field: $type,)* }

        impl<'r, R: sqlx::Row> sqlx::FromRow<'r, R> for $name
        where
            for<'n> &'n str: sqlx::ColumnIndex<R>,
            $(<$type as $crate::store::row::Cell>::Raw: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,)*
        {
            fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
                Ok(Self {
                    $($field: <$type as $crate::store::row::Cell>::from_raw(row.try_get(stringify!($field))?)
                        .map_err(|source| sqlx::Error::ColumnDecode {
                            index: stringify!($field).to_owned(),
                            source,
                        })?,)*
                })
            }
        }
    };
}

pub(super) use row;
