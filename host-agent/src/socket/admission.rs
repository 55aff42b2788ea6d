//! How much one user may have open here at once, so that nobody keeps root out.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// Counts what is open, per uid and in all.
#[derive(Debug)]
pub(crate) struct Admission {
    /// Most of one uid other than root.
    per_uid: usize,
    /// Most of all uids other than root together.
    others: usize,
    /// Most of all; what is above `others` is kept for root.
    all: usize,
    open: RefCell<HashMap<u32, usize>>,
}

/// One of them; gives its place back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    admission: Rc<Admission>,
    uid: u32,
}

impl Admission {
    pub(crate) fn new(per_uid: usize, others: usize, kept_for_root: usize) -> Rc<Self> {
        Rc::new(Self {
            per_uid,
            others,
            all: others + kept_for_root,
            open: RefCell::default(),
        })
    }

    /// A place for `uid`, or `None` when it is full.
    pub(crate) fn admit(self: &Rc<Self>, uid: u32) -> Option<Place> {
        let mut open = self.open.borrow_mut();
        let all: usize = open.values().sum();
        let root = open.get(&0).copied().unwrap_or(0);
        let own = open.get(&uid).copied().unwrap_or(0);
        let others_full = uid != 0 && (own >= self.per_uid || all - root >= self.others);
        if others_full || all >= self.all {
            return None;
        }
        *open.entry(uid).or_default() += 1;
        Some(Place {
            admission: Rc::clone(self),
            uid,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.admission.open.borrow_mut();
        if let Some(count) = open.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_keeps_root_out() {
        let admission = Admission::new(2, 5, 3);
        let mut places: Vec<Place> = (1001..1010)
            .flat_map(|uid| std::iter::repeat_n(uid, 4))
            .filter_map(|uid| admission.admit(uid))
            .collect();
        assert_eq!(places.len(), 5);
        assert!(admission.admit(1009).is_none());
        places.extend((0..9).filter_map(|_| admission.admit(0)));
        assert_eq!(places.len(), 8);
        places.truncate(4);
        assert!(admission.admit(1009).is_some());
        drop(places);
        assert!(admission.open.borrow().is_empty());
    }

    #[test]
    fn one_uid_keeps_no_other_out() {
        let admission = Admission::new(2, 5, 3);
        let own: Vec<Place> = (0..9).filter_map(|_| admission.admit(1001)).collect();
        assert_eq!(own.len(), 2);
        assert!(admission.admit(1002).is_some());
    }
}
