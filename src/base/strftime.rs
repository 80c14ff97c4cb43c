//! Moments by a format of the C library's `strftime`, in the C locale. Start at [`strftime`].

use std::io::Write as _;

use super::time::Civil;

const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Appends `secs` since 1970 by `format`; the clock is `offset` minutes east of UTC and its zone is called `zone`. A
/// letter that means nothing stands for itself.
pub fn strftime(out: &mut Vec<u8>, format: &[u8], secs: i64, offset: i32, zone: &str) {
    let at = Civil::local(secs, offset);
    let mut rest = format.iter().copied();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        match rest.next() {
            None => out.push(b'%'),
            // Other forms of the same in other locales.
            Some(b'E' | b'O') => match rest.next() {
                Some(letter) => put(out, letter, &at, (secs, offset, zone)),
                None => out.push(b'%'),
            },
            Some(letter) => put(out, letter, &at, (secs, offset, zone)),
        }
    }
}

/// Day of the year, from 0.
fn day_of_year(at: &Civil) -> u32 {
    const BEFORE: [u32; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let leap =
        at.year.is_multiple_of(4) && (!at.year.is_multiple_of(100) || at.year.is_multiple_of(400));
    BEFORE[at.month - 1] + at.day - 1 + u32::from(leap && at.month > 2)
}

/// Year and number of the week by ISO 8601, in which weeks begin on Mondays and the first has a Thursday.
fn iso_week(at: &Civil) -> (u32, u32) {
    let leap = |year: u32| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let days = |year: u32| if leap(year) { 366 } else { 365 };
    let monday_first = (at.weekday as i64 + 6) % 7;
    // Day of the year of this week's Thursday.
    let thursday = i64::from(day_of_year(at)) - monday_first + 3;
    if thursday < 0 {
        let year = at.year.saturating_sub(1);
        return (year, ((thursday + i64::from(days(year))) / 7 + 1) as u32);
    }
    if thursday >= i64::from(days(at.year)) {
        return (at.year + 1, 1);
    }
    (at.year, (thursday / 7 + 1) as u32)
}

fn put(out: &mut Vec<u8>, letter: u8, at: &Civil, when: (i64, i32, &str)) {
    let (secs, offset, zone) = when;
    let twelve = (at.hour + 11) % 12 + 1;
    let half = if at.hour < 12 { "AM" } else { "PM" };
    let mut again = |format: &str| strftime(out, format.as_bytes(), secs, offset, zone);
    match letter {
        b'c' => return again("%a %b %e %H:%M:%S %Y"),
        b'D' | b'x' => return again("%m/%d/%y"),
        b'F' => return again("%Y-%m-%d"),
        b'r' => return again("%I:%M:%S %p"),
        b'R' => return again("%H:%M"),
        b'T' | b'X' => return again("%H:%M:%S"),
        _ => {}
    }
    let yday = day_of_year(at);
    // Writing to a Vec cannot fail.
    let _ = match letter {
        b'a' => write!(out, "{}", &DAYS[at.weekday][..3]),
        b'A' => write!(out, "{}", DAYS[at.weekday]),
        b'b' | b'h' => write!(out, "{}", &MONTHS[at.month - 1][..3]),
        b'B' => write!(out, "{}", MONTHS[at.month - 1]),
        b'C' => write!(out, "{:02}", at.year / 100),
        b'd' => write!(out, "{:02}", at.day),
        b'e' => write!(out, "{:2}", at.day),
        b'g' => write!(out, "{:02}", iso_week(at).0 % 100),
        b'G' => write!(out, "{}", iso_week(at).0),
        b'H' => write!(out, "{:02}", at.hour),
        b'I' => write!(out, "{twelve:02}"),
        b'j' => write!(out, "{:03}", yday + 1),
        b'k' => write!(out, "{:2}", at.hour),
        b'l' => write!(out, "{twelve:2}"),
        b'm' => write!(out, "{:02}", at.month),
        b'M' => write!(out, "{:02}", at.minute),
        b'n' => writeln!(out),
        b'p' => write!(out, "{half}"),
        b'P' => write!(out, "{}", half.to_ascii_lowercase()),
        b's' => write!(out, "{secs}"),
        b'S' => write!(out, "{:02}", at.second),
        b't' => write!(out, "\t"),
        b'u' => write!(out, "{}", (at.weekday + 6) % 7 + 1),
        b'U' => write!(out, "{:02}", (yday + 7 - at.weekday as u32) / 7),
        b'V' => write!(out, "{:02}", iso_week(at).1),
        b'w' => write!(out, "{}", at.weekday),
        b'W' => write!(out, "{:02}", (yday + 7 - (at.weekday as u32 + 6) % 7) / 7),
        b'y' => write!(out, "{:02}", at.year % 100),
        b'Y' => write!(out, "{}", at.year),
        b'z' => {
            let sign = if offset < 0 { '-' } else { '+' };
            let minutes = offset.unsigned_abs();
            write!(out, "{sign}{:02}{:02}", minutes / 60, minutes % 60)
        }
        b'Z' => write!(out, "{zone}"),
        b'%' => write!(out, "%"),
        other => out.write_all(&[b'%', other]),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_mean_what_the_c_library_says() {
        // Taken from date(1) with LC_ALL=C.
        let all = "%a|%A|%b|%B|%C|%d|%D|%e|%F|%g|%G|%H|%I|%j|%k|%l|%m|%M|%p|%r|%R|%s|%S|%T|%u|%U|%V|%w|%W|%y|%Y|%z|%Z|%%|%Q";
        for (secs, want) in [
            (
                1_451_606_399,
                "Thu|Thursday|Dec|December|20|31|12/31/15|31|2015-12-31|15|2015|23|11|365|23|11|12|59|PM|11:59:59 PM|23:59|1451606399|59|23:59:59|4|52|53|4|52|15|2015|+0000|GMT|%|%Q",
            ),
            (
                1_451_692_800,
                "Sat|Saturday|Jan|January|20|02|01/02/16| 2|2016-01-02|15|2015|00|12|002| 0|12|01|00|AM|12:00:00 AM|00:00|1451692800|00|00:00:00|6|00|53|6|00|16|2016|+0000|GMT|%|%Q",
            ),
            (
                951_782_400,
                "Tue|Tuesday|Feb|February|20|29|02/29/00|29|2000-02-29|00|2000|00|12|060| 0|12|02|00|AM|12:00:00 AM|00:00|951782400|00|00:00:00|2|09|09|2|09|00|2000|+0000|GMT|%|%Q",
            ),
        ] {
            let mut out = Vec::new();
            strftime(&mut out, all.as_bytes(), secs, 0, "GMT");
            assert_eq!(String::from_utf8_lossy(&out), want);
        }
    }

    #[test]
    fn local_clocks_are_ahead() {
        let mut out = Vec::new();
        strftime(&mut out, b"%H:%M %z %Z%", 0, 330, "IST");
        assert_eq!(out, b"05:30 +0530 IST%");
    }
}
