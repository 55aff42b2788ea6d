//! What every handler begins with.

use tonic::{Request, Status};

use super::status::to_status;
use crate::domain::{Ctx, Error, PageRequest};

/// Largest request, decoded: a daemon with all its fields full has some 45 KiB. More is refused before it is read.
pub(super) const REQUEST_MAX: usize = 256 * 1024;

/// A request's caller and its message. Without a caller no handler answers: whoever serves these services without the
/// layer that finds out serves nobody.
pub(super) fn open<T>(request: Request<T>) -> Result<(Ctx, T), Status> {
    let ctx = request
        .extensions()
        .get::<Ctx>()
        .cloned()
        .ok_or_else(|| to_status(Error::Internal("a call without a context".to_owned())))?;
    Ok((ctx, request.into_inner()))
}

/// The page a list request asks for.
pub(super) fn page(size: i32, token: String) -> PageRequest {
    PageRequest { size, token }
}
