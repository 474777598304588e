//! Memory that forgets: as many entries as were asked for, the ones in use among them.

use std::collections::HashMap;
use std::hash::Hash;

use parking_lot::Mutex;

/// Two generations of a map: when the young one is full it becomes the old one, and what is used
/// again moves over. What is in use is not forgotten, and nothing is counted or linked.
#[derive(Debug)]
pub struct Recent<K, V> {
    half: usize,
    generations: Mutex<(HashMap<K, V>, HashMap<K, V>)>,
}

impl<K: Copy + Eq + Hash, V: Clone> Recent<K, V> {
    /// Remembers at most `most` entries, and at least the last half of that many.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { half: (most / 2).max(1), generations: Mutex::default() }
    }

    /// The value of `key`, if it is remembered.
    pub fn find(&self, key: &K) -> Option<V> {
        let mut generations = self.generations.lock();
        if let Some(value) = generations.0.get(key) {
            return Some(value.clone());
        }
        let value = generations.1.remove(key)?;
        self.put(&mut generations, *key, value.clone());
        Some(value)
    }

    /// Remembers `value` under `key`.
    pub fn keep(&self, key: K, value: V) {
        self.put(&mut self.generations.lock(), key, value);
    }

    fn put(&self, (young, old): &mut (HashMap<K, V>, HashMap<K, V>), key: K, value: V) {
        if young.len() >= self.half && !young.contains_key(&key) {
            *old = std::mem::take(young);
        }
        young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_no_more_is_kept_than_was_asked_for() {
        let recent = Recent::new(10);
        recent.keep(0, "used");
        for key in 1..1000 {
            recent.keep(key, "once");
            assert_eq!(recent.find(&0), Some("used"), "{key}");
        }
        let kept = (0..1000).filter(|key| recent.find(key).is_some()).count();
        assert!((5..=10).contains(&kept), "{kept}");
    }
}
