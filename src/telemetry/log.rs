//! Where log lines go: standard output, written by a thread of its own so that a slow reader
//! never stops a connection.

use std::io::IsTerminal;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

use super::{LogFormat, LogSpec};

/// Lines that may wait for the writer; about 16 MiB of them. Lines beyond are dropped rather than
/// held: a log that is not read must not stop the gate or fill its memory.
const QUEUED_LINES: usize = 32_768;

/// Keeps the writer alive; dropping it writes what is queued.
#[derive(Debug)]
#[must_use = "dropping it ends the log"]
pub struct LogGuard(#[expect(dead_code, reason = "held for its Drop")] WorkerGuard);

/// Starts the process's log.
///
/// # Errors
/// When the level is not a filter, or a log has been started before.
pub fn init(spec: &LogSpec) -> Result<LogGuard, String> {
    let filter = EnvFilter::try_new(&*spec.level).map_err(|error| format!("log.level: {error}"))?;
    let (writer, guard) =
        NonBlockingBuilder::default().buffered_lines_limit(QUEUED_LINES).lossy(true).finish(std::io::stdout());
    let terminal = std::io::stdout().is_terminal();
    let json = match spec.format {
        LogFormat::Auto => !terminal,
        LogFormat::Json => true,
        LogFormat::Text => false,
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    let started = if json {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    } else {
        builder.with_ansi(terminal).try_init()
    };
    started.map_err(|error| error.to_string())?;
    Ok(LogGuard(guard))
}
