//! What the load itself costs.

use std::fs;
use std::time::Duration;

/// CPU time of this thread so far, user and system; `None` where the kernel does not say (proc_pid_schedstat(5)).
pub(super) fn of_this_thread() -> Option<Duration> {
    parse(&fs::read_to_string("/proc/thread-self/schedstat").ok()?)
}

/// The first of three numbers: nanoseconds on a CPU.
fn parse(text: &str) -> Option<Duration> {
    text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_come_first() {
        assert_eq!(parse("1500 20 3\n"), Some(Duration::from_nanos(1500)));
        assert_eq!(parse(""), None);
        assert_eq!(parse("x 1 2"), None);
    }
}
