//! nginx's grammars for sizes, offsets and times, digit for digit. `None` is what nginx calls an invalid value.
//! Start at [`parse_size`], [`parse_offset`], [`parse_msec`], [`parse_sec`].

/// A size slot: digits with an optional `k` or `m`.
pub fn parse_size(text: &[u8]) -> Option<u64> {
    let (digits, scale) = match text.split_last()? {
        (b'k' | b'K', rest) => (rest, 1 << 10),
        (b'm' | b'M', rest) => (rest, 1 << 20),
        _ => (text, 1),
    };
    scaled(digits, scale)
}

/// An offset slot: as a size, and `g` too.
pub fn parse_offset(text: &[u8]) -> Option<u64> {
    match text.split_last()? {
        (b'g' | b'G', rest) => scaled(rest, 1 << 30),
        _ => parse_size(text),
    }
}

/// A time slot kept in milliseconds: `w d h m s ms` in descending order, a bare number is seconds.
pub fn parse_msec(text: &[u8]) -> Option<u64> {
    parse_time(text, Slot::Msec)
}

/// A time slot kept in seconds: `y M w d h m s` in descending order, a bare number is seconds.
pub fn parse_sec(text: &[u8]) -> Option<u64> {
    parse_time(text, Slot::Sec)
}

/// Digits only, not above `i64::MAX`: nginx's `ngx_atoi` and `ngx_atoof`.
pub fn parse_digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    // Eighteen digits cannot overflow; longer numbers have zeros in front, or are too large.
    let (head, tail) = text.split_at(text.len().min(18));
    let mut value = 0u64;
    for &byte in head {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value * 10 + u64::from(byte - b'0');
    }
    for &byte in tail {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
        if value > MAX {
            return None;
        }
    }
    Some(value)
}

const MAX: u64 = i64::MAX as u64;

fn scaled(digits: &[u8], scale: u64) -> Option<u64> {
    parse_digits(digits)?
        .checked_mul(scale)
        .filter(|&v| v <= MAX)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Slot {
    Sec,
    Msec,
}

/// Units from large to small; each may occur once and only after larger ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Unit {
    Start,
    Year,
    Month,
    Week,
    Day,
    Hour,
    Minute,
    Second,
    Millisecond,
    /// A blank behind a bare number: nothing but a last bare number may follow.
    Last,
}

impl Unit {
    const fn seconds(self) -> u64 {
        match self {
            Self::Year => 365 * 86_400,
            Self::Month => 30 * 86_400,
            Self::Week => 7 * 86_400,
            Self::Day => 86_400,
            Self::Hour => 3_600,
            Self::Minute => 60,
            _ => 1,
        }
    }
}

fn parse_time(text: &[u8], slot: Slot) -> Option<u64> {
    // A millisecond slot starts below months: years and months never fit it.
    let mut last = if slot == Slot::Sec {
        Unit::Start
    } else {
        Unit::Month
    };
    let (mut total, mut value, mut any) = (0u64, 0u64, false);
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte.is_ascii_digit() {
            value = value
                .checked_mul(10)?
                .checked_add(u64::from(byte - b'0'))
                .filter(|&v| v <= MAX)?;
            any = true;
            continue;
        }
        let unit = match byte {
            b'y' => Unit::Year,
            b'M' => Unit::Month,
            b'w' => Unit::Week,
            b'd' => Unit::Day,
            b'h' => Unit::Hour,
            b'm' if rest.first() == Some(&b's') => {
                rest = &rest[1..];
                Unit::Millisecond
            }
            b'm' => Unit::Minute,
            b's' => Unit::Second,
            b' ' => Unit::Last,
            _ => return None,
        };
        accept(unit, last, slot)?;
        last = unit;
        let scale = match (slot, unit) {
            (Slot::Sec, _) | (Slot::Msec, Unit::Millisecond) => unit.seconds(),
            (Slot::Msec, _) => unit.seconds() * 1000,
        };
        total = value
            .checked_mul(scale)?
            .checked_add(total)
            .filter(|&v| v <= MAX)?;
        value = 0;
        rest = skip_blanks(rest);
    }
    if !any {
        return None;
    }
    let scale = if slot == Slot::Sec { 1 } else { 1000 };
    value
        .checked_mul(scale)?
        .checked_add(total)
        .filter(|&v| v <= MAX)
}

fn accept(unit: Unit, last: Unit, slot: Slot) -> Option<()> {
    let fits = match unit {
        Unit::Millisecond => slot == Slot::Msec && last < unit,
        // A blank counts as the seconds that the number before it means.
        Unit::Last => last < Unit::Second,
        _ => last < unit,
    };
    fits.then_some(())
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|&&b| b == b' ').count();
    &text[blanks..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_offsets() {
        for (text, size, offset) in [
            ("0", Some(0), Some(0)),
            ("1024", Some(1024), Some(1024)),
            ("1k", Some(1024), Some(1024)),
            ("8K", Some(8192), Some(8192)),
            ("2m", Some(2 << 20), Some(2 << 20)),
            ("1M", Some(1 << 20), Some(1 << 20)),
            ("1g", None, Some(1 << 30)),
            ("3G", None, Some(3 << 30)),
            ("", None, None),
            ("k", None, None),
            ("1kk", None, None),
            ("-1", None, None),
            ("1 k", None, None),
            ("1.5m", None, None),
            ("9223372036854775807", Some(MAX), Some(MAX)),
            ("9223372036854775808", None, None),
            (
                "9007199254740991k",
                Some(9_007_199_254_740_991 << 10),
                Some(9_007_199_254_740_991 << 10),
            ),
            ("9007199254740992k", None, None),
            ("8589934592g", None, None),
            ("99999999999999999999", None, None),
        ] {
            assert_eq!(parse_size(text.as_bytes()), size, "size {text}");
            assert_eq!(parse_offset(text.as_bytes()), offset, "offset {text}");
        }
    }

    #[test]
    fn times() {
        for (text, sec, msec) in [
            ("0", Some(0), Some(0)),
            ("300", Some(300), Some(300_000)),
            ("60s", Some(60), Some(60_000)),
            ("1h30m", Some(5400), Some(5_400_000)),
            ("1h 30m", Some(5400), Some(5_400_000)),
            ("1d", Some(86_400), Some(86_400_000)),
            ("1w2d3h4m5s", Some(788_645), Some(788_645_000)),
            ("500ms", None, Some(500)),
            ("1s500ms", None, Some(1500)),
            ("1s 500", Some(501), Some(501_000)),
            ("5m30", Some(330), Some(330_000)),
            ("30m1h", None, None),
            ("1m1m", None, None),
            ("1y", Some(31_536_000), None),
            ("1M", Some(2_592_000), None),
            ("1y6M", Some(31_536_000 + 6 * 2_592_000), None),
            ("", None, None),
            ("s", None, None),
            ("abc", None, None),
            ("1x", None, None),
            ("30sec", None, None),
            ("-1", None, None),
            ("1.5s", None, None),
            ("1 2", Some(3), Some(3000)),
            ("1 ", Some(1), Some(1000)),
            ("1s ", Some(1), Some(1000)),
            ("9223372036854775807", Some(MAX), None),
            ("9223372036854775808", None, None),
            ("9223372036854775ms", None, Some(9_223_372_036_854_775)),
        ] {
            assert_eq!(parse_sec(text.as_bytes()), sec, "sec {text}");
            assert_eq!(parse_msec(text.as_bytes()), msec, "msec {text}");
        }
    }
}
