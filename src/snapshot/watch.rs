//! Whether files have changed: by device, inode, size and the times of modification and change.
//!
//! Polled rather than notified: Kubernetes swaps a symlink above the file, editors rename over it,
//! and network file systems notify nobody. A poll through the path sees all of these.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What a file looked like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// Also moves when only the permissions do, or when a copy sets back the time of modification.
    changed: (i64, i64),
}

/// A set of files, as they were last seen.
#[derive(Debug, Default)]
pub struct FileWatch {
    seen: BTreeMap<PathBuf, Option<Look>>,
}

impl FileWatch {
    /// Watches `files`, as they are now.
    #[must_use]
    pub fn new(files: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { seen: files.into_iter().map(|file| (file.clone(), look(&file))).collect() }
    }

    /// Whether any file has changed (or come, or gone) since the last call.
    pub fn changed(&mut self) -> bool {
        let mut changed = false;
        for (file, seen) in &mut self.seen {
            let now = look(file);
            changed |= std::mem::replace(seen, now) != now;
        }
        changed
    }

    /// Watches another set. Files that stay keep what was last seen of them; others have not been
    /// seen yet, for they may have changed since somebody read them.
    pub fn replace(&mut self, files: impl IntoIterator<Item = PathBuf>) {
        let old = std::mem::take(&mut self.seen);
        let kept = |file: PathBuf| {
            let seen = old.get(&file).copied().flatten();
            (file, seen)
        };
        self.seen = files.into_iter().map(kept).collect();
    }
}

fn look(file: &Path) -> Option<Look> {
    let meta = fs::metadata(file).ok()?;
    Some(Look {
        device: meta.dev(),
        inode: meta.ino(),
        size: meta.size(),
        modified: (meta.mtime(), meta.mtime_nsec()),
        changed: (meta.ctime(), meta.ctime_nsec()),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_rename_over_the_file_is_a_change() {
        let dir = tempfile::tempdir().unwrap();
        let (file, next) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&file, "one").unwrap();
        let mut watch = FileWatch::new([file.clone()]);
        assert!(!watch.changed());
        fs::write(&next, "two").unwrap();
        fs::rename(&next, &file).unwrap();
        assert!(watch.changed());
        assert!(!watch.changed());
    }

    #[test]
    fn a_symlink_swapped_above_the_file_is_a_change() {
        let dir = tempfile::tempdir().unwrap();
        for version in ["v1", "v2"] {
            fs::create_dir(dir.path().join(version)).unwrap();
            fs::write(dir.path().join(version).join("ca.pem"), "same size").unwrap();
        }
        let data = dir.path().join("..data");
        symlink(dir.path().join("v1"), &data).unwrap();
        let mut watch = FileWatch::new([data.join("ca.pem")]);
        symlink(dir.path().join("v2"), dir.path().join("tmp")).unwrap();
        fs::rename(dir.path().join("tmp"), &data).unwrap();
        assert!(watch.changed());
    }

    #[test]
    fn permissions_that_change_are_a_change() {
        use std::os::unix::fs::PermissionsExt;

        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key.pem");
        fs::write(&file, "x").unwrap();
        let mut watch = FileWatch::new([file.clone()]);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(watch.changed());
    }

    #[test]
    fn a_file_that_joins_the_watch_counts_as_changed_once_and_one_that_stays_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&old, "x").unwrap();
        fs::write(&new, "x").unwrap();
        let mut watch = FileWatch::new([old.clone()]);
        watch.replace([old.clone()]);
        assert!(!watch.changed());
        watch.replace([old, new]);
        assert!(watch.changed());
        assert!(!watch.changed());
    }

    #[test]
    fn a_file_that_goes_and_comes_is_a_change_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a");
        let mut watch = FileWatch::new([file.clone()]);
        fs::write(&file, "x").unwrap();
        assert!(watch.changed());
        fs::remove_file(&file).unwrap();
        assert!(watch.changed());
    }
}
