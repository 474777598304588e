//! Durations, sizes and rates as an operator writes them. Pure; overflow is an error.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::limits::Rate;

/// `"500ms"`, `"10s"`, `"5m"`, `"24h"`, `"7d"`.
pub(super) fn parse_duration(text: &str) -> Result<Duration, &'static str> {
    const WRONG: &str = "not a duration: a number and `ms`, `s`, `m`, `h` or `d`, like \"10s\"";
    let (count, unit) = split(text).ok_or(WRONG)?;
    let (_, millis) = DURATIONS.iter().find(|(name, _)| *name == unit).ok_or(WRONG)?;
    count.checked_mul(*millis).map(Duration::from_millis).ok_or("longer than any duration")
}

/// `"512B"`, `"64KiB"`, `"10MiB"`, `"1GiB"`, `"1MB"`.
pub(super) fn parse_size(text: &str) -> Result<u64, &'static str> {
    const WRONG: &str =
        "not a size: a number of bytes, or a number and `B`, `KiB`, `MiB`, `GiB`, `KB`, `MB`, .., like \"64KiB\"";
    let (count, unit) = split(text).ok_or(WRONG)?;
    let (_, bytes) = SIZES.iter().find(|(name, _)| *name == unit).ok_or(WRONG)?;
    count.checked_mul(*bytes).ok_or("larger than any size")
}

/// `"10/s"`, `"600/m"`, `"100/h"`.
pub(super) fn parse_rate(text: &str) -> Result<Rate, &'static str> {
    const WRONG: &str = "not a rate: a number from 1 and `/s`, `/m` or `/h`, like \"10/s\"";
    let (count, unit) = split(text).ok_or(WRONG)?;
    let per = RATES.iter().find(|(name, _)| *name == unit).map(|(_, per)| *per).ok_or(WRONG)?;
    let count = u32::try_from(count).map_err(|_| "more than any rate")?;
    Ok(Rate { count: NonZeroU32::new(count).ok_or(WRONG)?, per })
}

/// A duration in the largest unit that writes it exactly.
pub(super) fn show_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0s".to_owned();
    }
    show(millis, DURATIONS)
}

/// A size in the largest binary unit that writes it exactly.
pub(super) fn show_size(bytes: u64) -> String {
    if bytes == 0 {
        return "0".to_owned();
    }
    show(bytes, BINARY_SIZES)
}

fn show(count: u64, units: &[(&str, u64)]) -> String {
    let exact = units.iter().rev().find(|(_, unit)| count.is_multiple_of(*unit));
    exact.map_or_else(|| count.to_string(), |(name, unit)| format!("{}{name}", count / unit))
}

/// Digits, then the rest. No sign, no fraction, no space.
fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at_checked(end)?;
    Some((digits.parse().ok()?, unit))
}

/// In milliseconds, smallest first.
const DURATIONS: &[(&str, u64)] = &[("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
/// In bytes, smallest first.
const BINARY_SIZES: &[(&str, u64)] =
    &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];
/// In bytes.
const SIZES: &[(&str, u64)] = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];
const RATES: &[(&str, Duration)] =
    &[("/s", Duration::from_secs(1)), ("/m", Duration::from_mins(1)), ("/h", Duration::from_hours(1))];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_in_every_unit() {
        for (text, millis) in
            [("0s", 0), ("500ms", 500), ("10s", 10_000), ("5m", 300_000), ("24h", 86_400_000), ("7d", 604_800_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn sizes_are_read_in_every_unit() {
        for (text, bytes) in
            [("1B", 1), ("64KiB", 65_536), ("10MiB", 10 << 20), ("1MB", 1_000_000), ("2GB", 2_000_000_000)]
        {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn rates_are_read_in_every_unit() {
        for (text, count, secs) in [("10/s", 10, 1), ("600/m", 600, 60), ("100/h", 100, 3600)] {
            let rate = parse_rate(text).expect(text);
            assert_eq!((rate.count.get(), rate.per.as_secs()), (count, secs));
        }
    }

    #[test]
    fn what_is_not_a_number_and_a_unit_is_refused() {
        for text in
            ["", "s", "10", "10 s", "-1s", "+1s", "1.5s", "10S", "10sec", "0x10s", "١s", "18446744073709551616s"]
        {
            assert!(parse_duration(text).is_err(), "{text:?}");
        }
        for text in ["", "KiB", "10", "10kib", "-1B", "1 MiB", "1e3B", "1KiBs"] {
            assert!(parse_size(text).is_err(), "{text:?}");
        }
        for text in ["", "10", "/s", "0/s", "10/d", "10/10s", "-1/s", "1.5/s", "4294967296/s", "10 /s"] {
            assert!(parse_rate(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn overflow_is_an_error_and_never_a_small_number() {
        assert!(parse_duration("18446744073709551615d").is_err());
        assert!(parse_size("18446744073709551615KiB").is_err());
        assert!(parse_size("18446744073709551615B").is_ok());
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_as_the_same_value(millis in 0_u64.., bytes in 1_u64..) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
            prop_assert_eq!(parse_size(&show_size(bytes)), Ok(bytes));
        }

        #[test]
        fn no_text_makes_a_unit_panic(text in "\\PC*") {
            let _ = (parse_duration(&text), parse_size(&text), parse_rate(&text));
        }
    }
}
