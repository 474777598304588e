//! What sections need to know of each other.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::names::{Known, Once};
use super::problem::Read;
use super::read::{Node, Section};
use super::reputation::Routes;
use crate::policy::spec::ClientCertificateMode;

/// Everything that may be named, and what has been seen so far.
pub(super) struct Context<'a> {
    /// Where relative paths begin.
    base: &'a Path,
    pub(super) trust: Known,
    pub(super) limits: Known,
    pub(super) upstreams: Known,
    /// Names of routes, which are labels and must not add up two routes.
    pub(super) route_names: Once<Box<str>>,
    /// Files that the gate writes.
    pub(super) state_files: Once<PathBuf>,
    /// What routes want of reputations.
    pub(super) reputations: Routes,
    /// Names that hosts serve.
    pub(super) served: Once<Box<str>>,
    /// The mode of the host that serves a name; `None` where the mode has a problem.
    pub(super) modes: RefCell<BTreeMap<Box<str>, Option<ClientCertificateMode>>>,
}

impl<'a> Context<'a> {
    /// The context of `root`, whose file is called `file`.
    pub(super) fn new(root: &Section<'_>, file: &'a str) -> Self {
        Self {
            base: Path::new(file).parent().unwrap_or(Path::new("")),
            trust: Known::collect(root, "trust", "trust store"),
            limits: Known::collect(root, "limit", "limit"),
            upstreams: Known::collect(root, "upstream", "upstream"),
            route_names: Once::default(),
            state_files: Once::default(),
            reputations: Routes::default(),
            served: Once::default(),
            modes: RefCell::default(),
        }
    }

    /// The path of a file; a relative one begins where the configuration file is, so that it means
    /// the same whoever starts the gate from wherever.
    pub(super) fn file(&self, node: &Node<'_>) -> Read<PathBuf> {
        let path = self.written(node)?;
        node.sink.names_file(path.clone(), &node.place);
        Ok(path)
    }

    /// The path of a file that the gate only writes: nothing is read again when it changes.
    pub(super) fn written(&self, node: &Node<'_>) -> Read<PathBuf> {
        let text = node.text()?;
        if text.is_empty() || text.contains('\0') {
            return node.wrong("not a path");
        }
        Ok(self.base.join(text))
    }

    /// The path of a file that the gate alone writes: what it says is no news to it.
    pub(super) fn own_file(&self, node: &Node<'_>) -> Read<PathBuf> {
        let text = node.text()?;
        if text.is_empty() || text.contains('\0') {
            return node.wrong("not a path");
        }
        let path = self.base.join(text);
        match self.state_files.claim(path.clone(), &node.place) {
            Some(earlier) => node.wrong(format!("also {}: each keeps its own", earlier.path)),
            None => Ok(path),
        }
    }

    /// Warns of everything that nothing names.
    pub(super) fn warn_unused(&self, root: &Section<'_>) {
        for known in [&self.trust, &self.limits, &self.upstreams] {
            known.warn_unused(root);
        }
    }
}
