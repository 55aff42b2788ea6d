//! The bytes of the orders: magic, version, then the fields in order, numbers little-endian, lists and strings with
//! their length in front. Nothing may follow.

use std::ffi::CString;

use super::{MAX_ARGS, MAX_ENV, MAX_GROUPS, Orders, OrdersError, VERSION, require};

const MAGIC: [u8; 4] = *b"ZHYX";

pub(super) fn encode(orders: &Orders) -> Vec<u8> {
    let mut out = Writer(MAGIC.to_vec());
    out.u32(VERSION);
    out.bytes(orders.record.as_bytes());
    out.u32(u32::from(orders.join_cgroup));
    out.u32(orders.uid);
    out.u32(orders.gid);
    out.len(orders.groups.len());
    orders.groups.iter().for_each(|group| out.u32(*group));
    out.u32(orders.umask);
    out.u32(u32::from(orders.nofile.is_some()));
    let (soft, hard) = orders.nofile.unwrap_or_default();
    out.u64(soft);
    out.u64(hard);
    out.bytes(orders.directory.as_bytes());
    for list in [&orders.argv, &orders.env] {
        out.len(list.len());
        list.iter().for_each(|item| out.bytes(item.as_bytes()));
    }
    out.0
}

pub(super) fn decode(bytes: &[u8]) -> Result<Orders, OrdersError> {
    let mut input = Reader(bytes);
    require(input.take(4)? == MAGIC, "these are no orders")?;
    require(input.u32()? == VERSION, "another version of the format")?;
    let orders = Orders {
        record: input.text()?,
        join_cgroup: input.flag("join_cgroup: yes or no")?,
        uid: input.u32()?,
        gid: input.u32()?,
        groups: input.list(MAX_GROUPS, Reader::u32)?,
        umask: input.u32()?,
        nofile: input.limits()?,
        directory: input.c_string()?,
        argv: input.list(MAX_ARGS, Reader::c_string)?,
        env: input.list(MAX_ENV, Reader::c_string)?,
    };
    require(input.0.is_empty(), "bytes left over")?;
    Ok(orders)
}

struct Writer(Vec<u8>);

impl Writer {
    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Lengths are checked against bounds far below 4 GiB before anything is written.
    fn len(&mut self, value: usize) {
        self.u32(u32::try_from(value).unwrap_or(u32::MAX));
    }

    fn bytes(&mut self, value: &[u8]) {
        self.len(value.len());
        self.0.extend_from_slice(value);
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], OrdersError> {
        let cut = self.0.split_at_checked(len);
        let (head, tail) = cut.ok_or(OrdersError { rule: "cut short" })?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], OrdersError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u32(&mut self) -> Result<u32, OrdersError> {
        self.array().map(u32::from_le_bytes)
    }

    fn flag(&mut self, rule: &'static str) -> Result<bool, OrdersError> {
        match self.u32()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(OrdersError { rule }),
        }
    }

    fn u64(&mut self) -> Result<u64, OrdersError> {
        self.array().map(u64::from_le_bytes)
    }

    fn bytes(&mut self) -> Result<&'a [u8], OrdersError> {
        let len = self.u32()? as usize;
        self.take(len)
    }

    fn text(&mut self) -> Result<String, OrdersError> {
        let text = std::str::from_utf8(self.bytes()?);
        let rule = "record: UTF-8";
        Ok(text.map_err(|_| OrdersError { rule })?.to_owned())
    }

    fn c_string(&mut self) -> Result<CString, OrdersError> {
        let rule = "argv, env, directory: no NUL";
        CString::new(self.bytes()?).map_err(|_| OrdersError { rule })
    }

    /// The length is checked before room is made for it.
    fn list<T>(
        &mut self,
        max: usize,
        item: fn(&mut Self) -> Result<T, OrdersError>,
    ) -> Result<Vec<T>, OrdersError> {
        let len = self.u32()? as usize;
        require(len <= max, "a list is too long")?;
        (0..len).map(|_| item(self)).collect()
    }

    fn limits(&mut self) -> Result<Option<(u64, u64)>, OrdersError> {
        let (given, limits) = (self.u32()?, (self.u64()?, self.u64()?));
        match given {
            0 if limits == (0, 0) => Ok(None),
            1 => Ok(Some(limits)),
            _ => Err(OrdersError {
                rule: "nofile: given or not",
            }),
        }
    }
}
