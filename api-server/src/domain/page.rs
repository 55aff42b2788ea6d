//! Pages: in the order of creation, by the place after the last one seen. The token is that place with a signature over
//! it and over what is listed for whom, so one that was made up, altered or taken from another list is refused.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq as _;

use super::{Domain, Error};
use crate::store::Position;

/// Entries of a page when nothing is said.
const DEFAULT_SIZE: i64 = 50;
/// Most entries of a page; more is not refused but cut, as the API says.
const MAX_SIZE: i64 = 1000;
/// Bytes of the time in a token.
const TIME_LEN: usize = 8;
/// Bytes of the signature in a token: HMAC-SHA256.
const SIGNATURE_LEN: usize = 32;

/// Which page is asked for.
#[derive(Debug, Clone)]
pub(crate) struct PageRequest {
    /// At most so many; 0 means 50.
    pub(crate) size: i32,
    /// `next` of the page before; empty for the first page.
    pub(crate) token: String,
}

/// A page.
#[derive(Debug, Clone)]
pub(crate) struct Page<T> {
    /// Its entries.
    pub(crate) items: Vec<T>,
    /// Asks for the next page; empty on the last.
    pub(crate) next: String,
}

/// A page that is being cut.
pub(super) struct Cut<'a> {
    domain: &'a Domain,
    filter: String,
    size: i64,
    /// After which entry it begins.
    pub(super) after: Position,
}

impl Domain {
    /// Begins a page of the list `filter` names.
    pub(super) fn cut(&self, request: &PageRequest, filter: String) -> Result<Cut<'_>, Error> {
        let size = match request.size {
            ..0 => {
                let text = format!("must not be negative, is {}", request.size);
                return Err(Error::field("page_size", "RANGE", text));
            }
            0 => DEFAULT_SIZE,
            size => MAX_SIZE.min(size.into()),
        };
        let mut cut = Cut {
            domain: self,
            filter,
            size,
            after: Position::default(),
        };
        if !request.token.is_empty() {
            cut.after = cut.read(&request.token).ok_or_else(|| {
                let text = "not a token of this list: begin again without one";
                Error::field("page_token", "PAGE_TOKEN", text)
            })?;
        }
        Ok(cut)
    }
}

impl Cut<'_> {
    /// How many entries to read: one more than the page has, to know whether there is a next one.
    pub(super) fn limit(&self) -> i64 {
        self.size + 1
    }

    /// The page, from what was read. `position` of an entry: its creation time and id.
    pub(super) fn page<T>(&self, mut items: Vec<T>, position: impl Fn(&T) -> Position) -> Page<T> {
        let size = usize::try_from(self.size).unwrap_or(usize::MAX);
        let more = items.len() > size;
        items.truncate(size);
        let next = match items.last() {
            Some(last) if more => self.write(&position(last)),
            _ => String::new(),
        };
        Page { items, next }
    }

    fn write(&self, position: &Position) -> String {
        let time = position.time.to_be_bytes();
        let id = position.id.as_bytes();
        let signature = self.domain.key.sign(&[self.filter.as_bytes(), &time, id]);
        URL_SAFE_NO_PAD.encode([time.as_slice(), signature.as_ref(), id].concat())
    }

    fn read(&self, token: &str) -> Option<Position> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (time, rest) = bytes.split_first_chunk::<TIME_LEN>()?;
        let (signature, id) = rest.split_first_chunk::<SIGNATURE_LEN>()?;
        let expected = self.domain.key.sign(&[self.filter.as_bytes(), time, id]);
        let genuine: bool = expected.as_ref().ct_eq(signature).into();
        genuine.then_some(Position {
            time: i64::from_be_bytes(*time),
            id: String::from_utf8(id.to_vec()).ok()?,
        })
    }
}
