//! Moments and their spellings. Reads no clock: `net::clock` does, and everything here takes the moment as an argument.
//! Start at [`Mono`] and [`Unix`].

use std::time::Duration;

/// Milliseconds since the process started; never goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(pub u64);

impl Mono {
    /// Later by `by`, in whole milliseconds.
    pub fn after(self, by: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)),
        )
    }

    /// Later by `ms`.
    pub const fn after_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Time since `earlier`; zero when that is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Milliseconds since `earlier`; zero when that is later.
    pub const fn ms_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A moment of the calendar, in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Unix {
    /// Seconds since 1970.
    pub secs: i64,
    /// 0 to 999.
    pub millis: u16,
}

/// Bytes of an [`http_date`].
pub const HTTP_DATE_LEN: usize = 29;

/// `Mon, 28 Sep 1970 06:00:00 GMT` (IMF-fixdate).
pub fn http_date(secs: i64) -> [u8; HTTP_DATE_LEN] {
    let t = Civil::of(secs);
    let mut out = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    out[..3].copy_from_slice(WEEK[t.weekday]);
    put2(&mut out[5..7], t.day);
    out[8..11].copy_from_slice(MONTHS[t.month - 1]);
    put4(&mut out[12..16], t.year);
    t.put_clock(&mut out[17..25]);
    out
}

/// `28/Sep/1970:12:00:00 +0600`, as `$time_local`; `offset` is minutes east of UTC.
pub fn log_local(secs: i64, offset: i32) -> [u8; 26] {
    let t = Civil::local(secs, offset);
    let mut out = *b"01/Jan/1970:00:00:00 +0000";
    put2(&mut out[..2], t.day);
    out[3..6].copy_from_slice(MONTHS[t.month - 1]);
    put4(&mut out[7..11], t.year);
    t.put_clock(&mut out[12..20]);
    put_offset(&mut out[21..], offset, false);
    out
}

/// `1970-09-28T12:00:00+06:00`, as `$time_iso8601`; `offset` is minutes east of UTC.
pub fn log_iso8601(secs: i64, offset: i32) -> [u8; 25] {
    let t = Civil::local(secs, offset);
    let mut out = *b"1970-01-01T00:00:00+00:00";
    put4(&mut out[..4], t.year);
    put2(&mut out[5..7], t.month as u32);
    put2(&mut out[8..10], t.day);
    t.put_clock(&mut out[11..19]);
    put_offset(&mut out[19..], offset, true);
    out
}

/// `1970/09/28 12:00:00`, as in the error log; `offset` is minutes east of UTC.
pub fn log_error(secs: i64, offset: i32) -> [u8; 19] {
    let t = Civil::local(secs, offset);
    let mut out = *b"1970/01/01 00:00:00";
    put4(&mut out[..4], t.year);
    put2(&mut out[5..7], t.month as u32);
    put2(&mut out[8..10], t.day);
    t.put_clock(&mut out[11..19]);
    out
}

/// `Sep 28 12:00:00`, as in syslog datagrams; `offset` is minutes east of UTC.
pub fn log_syslog(secs: i64, offset: i32) -> [u8; 15] {
    let t = Civil::local(secs, offset);
    let mut out = *b"Jan  1 00:00:00";
    out[..3].copy_from_slice(MONTHS[t.month - 1]);
    put2(&mut out[4..6], t.day);
    if out[4] == b'0' {
        out[4] = b' ';
    }
    t.put_clock(&mut out[7..15]);
    out
}

/// `Thu, 31-Dec-37 23:55:55 GMT`, as nginx writes cookie dates; four digits of the year after 2037.
pub fn cookie_date(secs: i64, out: &mut Vec<u8>) {
    let t = Civil::of(secs);
    let mut text = *b"Thu, 01-Jan-1970 00:00:00 GMT";
    text[..3].copy_from_slice(WEEK[t.weekday]);
    put2(&mut text[5..7], t.day);
    text[8..11].copy_from_slice(MONTHS[t.month - 1]);
    put4(&mut text[12..16], t.year);
    t.put_clock(&mut text[17..25]);
    if t.year > 2037 {
        out.extend_from_slice(&text);
    } else {
        out.extend_from_slice(&text[..12]);
        out.extend_from_slice(&text[14..]);
    }
}

/// Seconds since 1970 of a date in any of HTTP's three forms (IMF-fixdate, RFC 850, asctime), as lenient as nginx:
/// the day's name and what follows the seconds are not looked at.
pub fn parse_http_date(text: &[u8]) -> Option<i64> {
    let comma = text.iter().position(|&b| b == b',' || b == b' ')?;
    let asctime = text[comma] == b' ';
    let mut at = Cursor(&text[comma + 1..]);
    at.skip_blanks();
    if at.0.len() < 18 {
        return None;
    }
    let (day, month, year);
    if asctime {
        month = at.month()?;
        at.byte()?;
        at.skip(b' ');
        day = at.digits_up_to_two()?;
        at.expect(b' ')?;
        let clock = at.clock()?;
        at.expect(b' ')?;
        year = at.digits(4)?;
        return seconds(year, month, day, clock);
    }
    day = at.digits(2)?;
    let separator = at.byte()?;
    if separator != b' ' && separator != b'-' {
        return None;
    }
    month = at.month()?;
    at.expect(separator)?;
    if separator == b' ' {
        year = at.digits(4)?;
    } else {
        // RFC 850 years have two digits; nginx puts the turn of the century at 70.
        let short = at.digits(2)?;
        year = if short < 70 {
            short + 2000
        } else {
            short + 1900
        };
    }
    at.expect(b' ')?;
    let clock = at.clock()?;
    seconds(year, month, day, clock)
}

const WEEK: [&[u8; 3]; 7] = [b"Sun", b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat"];
const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// A moment by calendar and clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// 0 to 9999.
    pub year: u32,
    /// 1 to 12.
    pub month: usize,
    /// 1 to 31.
    pub day: u32,
    /// 0 is Sunday.
    pub weekday: usize,
    /// 0 to 23.
    pub hour: u32,
    /// 0 to 59.
    pub minute: u32,
    /// 0 to 59.
    pub second: u32,
}

impl Civil {
    /// Of UTC seconds; moments before 1970 and after 9999 are moved to those ends.
    pub fn of(secs: i64) -> Self {
        const LAST: i64 = 253_402_300_799;
        let secs = secs.clamp(0, LAST) as u64;
        let (days, clock) = (secs / 86_400, (secs % 86_400) as u32);
        // Days counted from 0000-03-01, so that leap days end a year; 146,097 days are 400 years.
        let shifted = days + 719_468;
        let (era, in_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (in_era - in_era / 1_460 + in_era / 36_524 - in_era / 146_096) / 365;
        let in_year = in_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * in_year + 2) / 153;
        let day = in_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 {
            march_month + 3
        } else {
            march_month - 9
        };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        Self {
            year: year as u32,
            month: month as usize,
            day: day as u32,
            weekday: ((days + 4) % 7) as usize,
            hour: clock / 3600,
            minute: clock / 60 % 60,
            second: clock % 60,
        }
    }

    /// Of UTC seconds, `offset` minutes east.
    pub fn local(secs: i64, offset: i32) -> Self {
        Self::of(secs.saturating_add(i64::from(offset) * 60))
    }

    /// `Jan` to `Dec`.
    pub fn month_name(&self) -> &'static [u8; 3] {
        MONTHS[self.month - 1]
    }

    fn put_clock(&self, out: &mut [u8]) {
        put2(&mut out[..2], self.hour);
        put2(&mut out[3..5], self.minute);
        put2(&mut out[6..8], self.second);
    }
}

fn put2(out: &mut [u8], value: u32) {
    out[0] = b'0' + (value / 10 % 10) as u8;
    out[1] = b'0' + (value % 10) as u8;
}

fn put4(out: &mut [u8], value: u32) {
    put2(&mut out[..2], value / 100);
    put2(&mut out[2..], value % 100);
}

fn put_offset(out: &mut [u8], offset: i32, colon: bool) {
    out[0] = if offset < 0 { b'-' } else { b'+' };
    let minutes = offset.unsigned_abs();
    put2(&mut out[1..3], minutes / 60);
    put2(&mut out[if colon { 4..6 } else { 3..5 }], minutes % 60);
}

struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.byte()? == byte).then_some(())
    }

    fn skip(&mut self, byte: u8) {
        if self.0.first() == Some(&byte) {
            self.0 = &self.0[1..];
        }
    }

    fn skip_blanks(&mut self) {
        while self.0.first() == Some(&b' ') {
            self.0 = &self.0[1..];
        }
    }

    fn digits(&mut self, count: usize) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.byte()?;
            if !byte.is_ascii_digit() {
                return None;
            }
            value = value * 10 + u32::from(byte - b'0');
        }
        Some(value)
    }

    fn digits_up_to_two(&mut self) -> Option<u32> {
        let first = self.digits(1)?;
        if self.0.first() == Some(&b' ') {
            return Some(first);
        }
        Some(first * 10 + self.digits(1)?)
    }

    /// 0 is January. Looks at as many letters as it needs, as nginx does.
    fn month(&mut self) -> Option<usize> {
        let name = self.0.get(..3)?;
        let month = match (name[0], name[1], name[2]) {
            (b'J', b'a', _) => 0,
            (b'J', _, b'n') => 5,
            (b'J', ..) => 6,
            (b'F', ..) => 1,
            (b'M', _, b'r') => 2,
            (b'M', ..) => 4,
            (b'A', b'p', _) => 3,
            (b'A', ..) => 7,
            (b'S', ..) => 8,
            (b'O', ..) => 9,
            (b'N', ..) => 10,
            (b'D', ..) => 11,
            _ => return None,
        };
        self.0 = &self.0[3..];
        Some(month)
    }

    fn clock(&mut self) -> Option<i64> {
        let hour = self.digits(2)?;
        self.expect(b':')?;
        let minute = self.digits(2)?;
        self.expect(b':')?;
        let second = self.digits(2)?;
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        Some(i64::from(hour * 3600 + minute * 60 + second))
    }
}

fn seconds(year: u32, month: usize, day: u32, clock: i64) -> Option<i64> {
    const DAYS: [u32; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    if day > DAYS[month] + u32::from(leap && month == 1) {
        return None;
    }
    let (year, month) = (i64::from(year), month as i64 + 1);
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let era = shifted_year.div_euclid(400);
    let year_of_era = shifted_year.rem_euclid(400);
    let march_month = (month + 9) % 12;
    let in_year = (153 * march_month + 2) / 5 + i64::from(day) - 1;
    let in_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + in_year;
    Some((era * 146_097 + in_era - 719_468) * 86_400 + clock)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn formats() {
        let s = 1_700_000_000;
        assert_eq!(text(&http_date(s)), "Tue, 14 Nov 2023 22:13:20 GMT");
        assert_eq!(text(&http_date(0)), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(text(&http_date(-5)), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(
            text(&http_date(951_782_400)),
            "Tue, 29 Feb 2000 00:00:00 GMT"
        );
        assert_eq!(text(&http_date(i64::MAX)), "Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(text(&log_local(s, 120)), "15/Nov/2023:00:13:20 +0200");
        assert_eq!(text(&log_local(s, -210)), "14/Nov/2023:18:43:20 -0330");
        assert_eq!(text(&log_iso8601(s, 330)), "2023-11-15T03:43:20+05:30");
        assert_eq!(text(&log_iso8601(s, 0)), "2023-11-14T22:13:20+00:00");
        assert_eq!(text(&log_error(s, 0)), "2023/11/14 22:13:20");
        assert_eq!(text(&log_syslog(s, 0)), "Nov 14 22:13:20");
        assert_eq!(text(&log_syslog(1_699_000_000, 0)), "Nov  3 08:26:40");
        let mut out = Vec::new();
        cookie_date(s, &mut out);
        out.push(b'|');
        cookie_date(2_147_483_647, &mut out);
        assert_eq!(
            text(&out),
            "Tue, 14-Nov-23 22:13:20 GMT|Tue, 19-Jan-2038 03:14:07 GMT"
        );
    }

    #[test]
    fn parses_all_three_forms() {
        for (date, secs) in [
            ("Tue, 14 Nov 2023 22:13:20 GMT", Some(1_700_000_000)),
            ("Tuesday, 14-Nov-23 22:13:20 GMT", Some(1_700_000_000)),
            ("Tue Nov 14 22:13:20 2023", Some(1_700_000_000)),
            ("Sun Nov  6 08:49:37 1994", Some(784_111_777)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(784_111_777)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Wed, 31 Dec 1969 23:59:59 GMT", Some(-1)),
            ("Tue, 29 Feb 2000 00:00:00 GMT", Some(951_782_400)),
            ("Tue, 29 Feb 2023 00:00:00 GMT", None),
            ("Tue, 32 Jan 2023 00:00:00 GMT", None),
            ("Tue, 14 Nov 2023 24:13:20 GMT", None),
            ("Tue, 14 Nov 2023 22:13", None),
            ("Tue, 14 Xov 2023 22:13:20 GMT", None),
            ("Tue, 1 Nov 2023 22:13:20 GMT", None),
            ("yesterday", None),
            ("", None),
            ("0", None),
        ] {
            assert_eq!(parse_http_date(date.as_bytes()), secs, "{date}");
        }
    }

    #[test]
    fn every_cut_and_every_day_is_safe() {
        for date in [
            "Tue, 14 Nov 2023 22:13:20 GMT",
            "Tuesday, 14-Nov-23 22:13:20 GMT",
            "Tue Nov  4 22:13:20 2023",
        ] {
            for cut in 0..date.len() {
                parse_http_date(&date.as_bytes()[..cut]);
            }
        }
        for day in 0..150_000i64 {
            let secs = day * 86_400 + day % 86_400;
            assert_eq!(parse_http_date(&http_date(secs)), Some(secs));
        }
    }

    #[test]
    fn mono_never_wraps() {
        assert_eq!(Mono(5).since(Mono(9)), Duration::ZERO);
        assert_eq!(Mono(u64::MAX).after_ms(5), Mono(u64::MAX));
        assert_eq!(Mono(5).after(Duration::from_millis(7)), Mono(12));
        assert_eq!(Mono(12).ms_since(Mono(5)), 7);
    }
}
