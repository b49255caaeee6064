//! Times as people write them: ISO 8601 in and out. UTC, by the proleptic Gregorian calendar.

const DAY_MS: i64 = 86_400_000;

/// ms since 1970 from `2026-11-24T12:00:00Z`, the same with `+02:00` or without seconds or with fractions, a date alone, or
/// the number itself.
pub fn timestamp(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?}: expected a time as 2026-11-24T12:00:00Z, 2026-11-24 or ms since 1970");
    if let Ok(ms) = text.parse::<i64>() {
        return Ok(ms);
    }
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00"));
    let (time, offset_ms) = zone(time).ok_or_else(wrong)?;
    let date: Vec<i64> = numbers(date, '-').ok_or_else(wrong)?;
    let [year, month, day] = date[..] else { return Err(wrong()) };
    let (clock, fraction) = time.split_once('.').unwrap_or((time, ""));
    let clock: Vec<i64> = numbers(clock, ':').ok_or_else(wrong)?;
    let (hour, minute, second) = match clock[..] {
        [hour, minute] => (hour, minute, 0),
        [hour, minute, second] => (hour, minute, second),
        _ => return Err(wrong()),
    };
    let whole = fraction.len() <= 9 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let in_range = (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    if !whole || !in_range || !(0..24).contains(&hour) || !(0..60).contains(&minute) || !(0..61).contains(&second) {
        return Err(wrong());
    }
    let ms = format!("{:0<3}", fraction)[..3].parse::<i64>().map_err(|_| wrong())?;
    let day_ms = ((hour * 60 + minute) * 60 + second) * 1000 + ms;
    Ok(days_from_civil(year, month, day) * DAY_MS + day_ms - offset_ms)
}

/// A time of day with its offset from UTC in ms.
fn zone(time: &str) -> Option<(&str, i64)> {
    if let Some(time) = time.strip_suffix('Z') {
        return Some((time, 0));
    }
    let Some(at) = time.rfind(['+', '-']) else { return Some((time, 0)) };
    let sign = if time[at..].starts_with('-') { -1 } else { 1 };
    let digits: String = time[at + 1..].chars().filter(|letter| *letter != ':').collect();
    let number: i64 = digits.parse().ok().filter(|_| digits.len() == 4)?;
    Some((&time[..at], sign * (number / 100 * 60 + number % 100) * 60_000))
}

fn numbers(text: &str, by: char) -> Option<Vec<i64>> {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    text.split(by).map(|part| part.parse().ok().filter(|_| digits(part))).collect()
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01. Years begin in March here, so that the leap day is the last one.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// `2026-11-24T12:00:00.000Z`; empty for no time.
pub fn iso(ms: i64) -> String {
    if ms < 0 {
        return String::new();
    }
    let (year, month, day) = civil_from_days(ms.div_euclid(DAY_MS));
    let (hour, minute, second, rest) = clock_parts(ms);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{rest:03}Z")
}

/// `2026-11-24 12:00:00.000`, for columns.
pub fn clock(ms: i64) -> String {
    iso(ms).replace('T', " ").replace('Z', "")
}

fn clock_parts(ms: i64) -> (i64, i64, i64, i64) {
    let of_day = ms.rem_euclid(DAY_MS);
    (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1000 % 60, of_day % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_both_ways() {
        assert_eq!(timestamp("1970-01-01T00:00:00Z"), Ok(0));
        assert_eq!(timestamp("2026-11-24T12:00:00Z"), Ok(1_795_521_600_000));
        assert_eq!(timestamp("2026-11-24T14:00:00.25+02:00"), Ok(1_795_521_600_250));
        assert_eq!(timestamp("2026-11-24 06:30-0530"), Ok(1_795_521_600_000));
        assert_eq!(timestamp("2024-02-29"), Ok(1_709_164_800_000));
        assert_eq!(timestamp("12345"), Ok(12345));
        for bad in ["", "now", "2026-13-01", "2026-02-29", "2026-11-24T25:00Z", "2026-11-24T12", "2026-11-24T12:00+2"] {
            assert!(timestamp(bad).is_err(), "{bad}");
        }
        for ms in [0, 951_782_400_000, 1_709_164_800_000, 1_795_521_600_123, 4_102_444_799_999] {
            assert_eq!(timestamp(&iso(ms)), Ok(ms), "{}", iso(ms));
        }
        assert_eq!(iso(1_795_521_600_123), "2026-11-24T12:00:00.123Z");
    }
}
