//! Exit statuses, after LSB's for init scripts.

use crate::socket::fault::Code;

pub(super) const SUCCESS: u8 = 0;
pub(super) const GENERIC: u8 = 1;
pub(super) const INVALID_ARGS: u8 = 2;
pub(super) const INSUFFICIENT_PRIVILEGES: u8 = 4;
pub(super) const NOT_INSTALLED: u8 = 5;
pub(super) const NOT_RUNNING: u8 = 7;
/// Ctrl-C where nothing is followed.
pub(super) const INTERRUPTED: u8 = 130;

/// `status`: something shown is not running.
pub(super) const STATUS_NOT_RUNNING: u8 = 3;
/// `status`: something named is not known, or nobody could be asked.
pub(super) const STATUS_UNKNOWN: u8 = 4;

/// The status a fault asks for; `None` leaves it as it is. `fine` is the fault that is none for this command.
pub(super) fn of_fault(fault: i32, fine: Option<Code>) -> Option<u8> {
    match Code::from_number(fault) {
        Some(Code::Success) => None,
        code if code.is_some() && code == fine => None,
        Some(Code::SpawnError | Code::AbnormalTermination | Code::NotRunning) => Some(NOT_RUNNING),
        _ => Some(GENERIC),
    }
}
