//! What it costs to remember: the memory that verified chains are looked up in.

use std::hint::black_box;
use std::sync::Arc;

use portcullis::memory::Recent;

use super::{Case, case};

pub fn cases() -> Vec<Case> {
    // One client, a fleet, and as many as are remembered.
    [1, 100, 4096].into_iter().map(find).collect()
}

fn find(entries: u32) -> Case {
    case(format!("chains/find/{entries}"), move || {
        let key = |n: u32| {
            let mut key = [0x5a; 32];
            key.iter_mut().zip(n.to_be_bytes()).for_each(|(octet, value)| *octet = value);
            key
        };
        let recent = Recent::new(8192);
        (0..entries).for_each(|n| recent.keep(key(n), Arc::new(n)));
        let mut n = 0;
        Box::new(move || {
            n = (n + 611_953) % entries;
            assert!(recent.find(black_box(&key(n))).is_some());
        })
    })
}
