//! The only place that makes a `Status`.

use tonic::Status;

use crate::domain::Error;

/// An error as a client sees it: code, text, `ErrorInfo` always, and more where it fits.
#[must_use]
pub(crate) fn to_status(error: Error) -> Status {
    let _ = error;
    todo!("owner: api")
}
