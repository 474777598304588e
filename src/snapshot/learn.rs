//! What `learn` has seen of a trust store's clients, on its way to a file.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::{Snapshot, state_file};
use crate::config::{Config, Problem};
use crate::fingerprint::{Ja4, Tally};
use crate::tls::{StackMode, TrustSpec};

/// A trust store's tally and its file.
#[derive(Debug)]
pub struct Learned {
    path: PathBuf,
    tally: Mutex<Tally>,
    changed: AtomicBool,
}

impl Learned {
    /// What `spec` wants: `before`'s, or one that goes on where the file ends; `None` if it does not learn.
    pub(super) fn build(
        config: &Config,
        spec: &TrustSpec,
        before: Option<&Arc<Self>>,
    ) -> Result<Option<Arc<Self>>, Vec<Problem>> {
        let path = spec.stack.learned.as_deref().filter(|_| spec.stack.mode == StackMode::Learn);
        if let Some(before) = before.filter(|before| path != Some(&*before.path)) {
            before.write();
        }
        let Some(path) = path else { return Ok(None) };
        if let Some(before) = before.filter(|before| *before.path == *path) {
            return Ok(Some(Arc::clone(before)));
        }
        let wrong = |what: &str| {
            vec![config.places.problem(format!("trust {}: stack.learned {}: {what}", spec.name, path.display()))]
        };
        let tally = match read(path) {
            Ok(text) => Tally::of_toml(&text)
                .ok_or_else(|| wrong("not what the gate wrote, and it would be written over: move it away"))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Tally::default(),
            Err(error) => return Err(wrong(&error.to_string())),
        };
        let (tally, changed) = (Mutex::new(tally), AtomicBool::new(false));
        Ok(Some(Arc::new(Self { path: path.to_owned(), tally, changed })))
    }

    /// A client that proved its certificate had this software.
    pub fn add(&self, ja4: Ja4) {
        self.tally.lock().add(ja4);
        self.changed.store(true, Ordering::Release);
    }

    /// Writes the file if there is anything new. What fails is in the log, and tried again next time.
    fn write(&self) {
        if !self.changed.swap(false, Ordering::AcqRel) {
            return;
        }
        let text = self.tally.lock().to_toml();
        if let Err(error) = state_file::replace(&self.path, text.as_bytes()) {
            self.changed.store(true, Ordering::Release);
            let path = self.path.display();
            tracing::error!(target: "portcullis::fingerprint", %path, %error, "what was learned cannot be written");
        }
    }
}

impl Snapshot {
    /// Writes down what its trust stores have learned since the last time. Blocks.
    pub fn write_learned(&self) {
        self.trust.values().filter_map(|trust| trust.learned.as_deref()).for_each(Learned::write);
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(MAX_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// A tally has 256 lines of less than 80 bytes.
const MAX_BYTES: u64 = 64 * 1024;
