//! The keys of session tickets: our own, or those of a file that gates share.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::config::{Config, Problem};
use crate::identity::Digest;
use crate::policy::spec::HostSpec;
use crate::tls::{KEY_BYTES, ResumptionSpec, TicketKeys, TrustStore};

/// Keys, and what they were made from: they stay as long as that does.
#[derive(Clone, Debug)]
pub struct Tickets {
    /// The keys.
    pub keys: Arc<TicketKeys>,
    spec: ResumptionSpec,
    file: Option<Digest>,
}

/// More keys than gates rotate through.
const MAX_FILE_BYTES: u64 = 64 * 1024;

impl Tickets {
    /// The keys that `config` wants, `before`'s if it wanted the same; `None` if it wants none.
    ///
    /// # Errors
    /// A key file that cannot be read, or holds anything but keys.
    pub(super) fn build(
        config: &Config,
        clock: &Clock,
        before: Option<&Self>,
        warnings: &mut Vec<Problem>,
    ) -> Result<Option<Self>, Box<Problem>> {
        let spec = &config.resumption;
        if !spec.enabled {
            return Ok(None);
        }
        let mut text = None;
        if let Some(path) = spec.key_file.as_deref() {
            let (keys, others) = read(path).map_err(|(what, hint)| Box::new(problem(config, path, &what, hint)))?;
            warnings.extend(others.map(|what| problem(config, path, &what, OWNER_ONLY)));
            text = Some(keys);
        }
        let file = text.as_ref().map(|text| Digest::of(text.as_bytes()));
        if let Some(before) = before.filter(|before| before.spec == *spec && before.file == file) {
            return Ok(Some(before.clone()));
        }
        let keys = match (&text, &spec.key_file) {
            (Some(text), Some(path)) => {
                let keys = parse(text).and_then(|keys| TicketKeys::shared(&keys, clock.clone()).map_err(str::to_owned));
                keys.map_err(|what| Box::new(problem(config, path, &what, MAKE)))?
            }
            _ => TicketKeys::rotating(spec, clock.clone()),
        };
        Ok(Some(Self { keys: Arc::new(keys), spec: spec.clone(), file }))
    }
}

/// What the tickets of a host are sealed to: its names, whom it asks for, and whom it trusts.
pub(super) fn seal(host: &HostSpec, trust: Option<&TrustStore>) -> Digest {
    let mut parts: Vec<_> = host.names.iter().map(|name| Digest::of(name.as_bytes())).collect();
    parts.push(Digest::of(format!("{:?}", host.client_certificate).as_bytes()));
    parts.extend(trust.map(TrustStore::seal));
    let bytes: Vec<u8> = parts.into_iter().flat_map(|digest| digest.0).collect();
    Digest::of(&bytes)
}

/// What is wrong, and what to do.
type Wrong = (String, &'static str);

/// The keys' text, and what is to be said of the file's permissions.
fn read(path: &Path) -> Result<(Zeroizing<String>, Option<String>), Wrong> {
    let failed = |error: std::io::Error| (error.to_string(), MAKE);
    let mut text = Zeroizing::new(String::new());
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & WRITABLE_BY_OTHERS != 0 {
        let what = format!("may be written by others (mode {mode:04o}): whoever can put a key in it makes tickets");
        return Err((what, OWNER_ONLY));
    }
    let others = (mode & READABLE_BY_OTHERS != 0).then(|| {
        format!("may be read by others (mode {mode:04o}): whoever has a key makes tickets in the name of any client")
    });
    file.take(MAX_FILE_BYTES).read_to_string(&mut text).map_err(failed)?;
    Ok((text, others))
}

/// By its group, or by everybody.
const WRITABLE_BY_OTHERS: u32 = 0o022;
const READABLE_BY_OTHERS: u32 = 0o044;

const MAKE: &str = "make a key with `openssl rand -hex 32`, one on each line, the newest first";
const OWNER_ONLY: &str = "`chmod 0400` it, owned by the gate's user";

fn parse(text: &str) -> Result<Vec<Zeroizing<[u8; KEY_BYTES]>>, String> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| {
            // A digest is as many hexadecimal digits as a key. The key itself is never repeated.
            let key =
                line.trim().parse::<Digest>().map_err(|_| format!("line {}: not 64 hexadecimal digits", number + 1))?;
            Ok(Zeroizing::new(key.0))
        })
        .collect()
}

fn problem(config: &Config, path: &Path, what: &str, hint: &str) -> Problem {
    config.places.problem_with(path, what, hint)
}
