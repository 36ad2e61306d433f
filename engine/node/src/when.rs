//! Moments as people read them.

use weir_core::UnixSeconds;
use weir_protocol::timestamp;

/// A moment in UTC, and how far it is from now: `2025-01-06T12:05:00Z (in 12 min)`.
pub fn moment(at: UnixSeconds, now: UnixSeconds) -> String {
    match timestamp::write(at) {
        Ok(date) => format!("{date} ({})", distance(at, now)),
        // Past the year 9999, which no date of a channel is.
        Err(_) => format!("{} (Unix seconds)", at.0),
    }
}

/// How far a moment is from now: `in 12 min`, `3 h ago`.
pub fn distance(at: UnixSeconds, now: UnixSeconds) -> String {
    match (at.seconds_since(now), now.seconds_since(at)) {
        (0, 0) => "now".to_owned(),
        (0, ago) => format!("{} ago", span(ago)),
        (ahead, _) => format!("in {}", span(ahead)),
    }
}

/// In the largest unit of which there are two at least, rounded down.
fn span(seconds: u64) -> String {
    let units = [("d", 24 * 3_600), ("h", 3_600), ("min", 60)];
    let unit = units.into_iter().find(|(_, length)| seconds >= 2 * length);
    let (unit, length) = unit.unwrap_or(("s", 1));
    format!("{} {unit}", seconds / length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_dates_with_their_distance() {
        let now = UnixSeconds(1_736_165_100);
        assert_eq!(moment(now, now), "2025-01-06T12:05:00Z (now)");
        assert_eq!(moment(now.after(720), now), "2025-01-06T12:17:00Z (in 12 min)");
        for (seconds, said) in [
            (1, "1 s ago"),
            (119, "119 s ago"),
            (120, "2 min ago"),
            (7_199, "119 min ago"),
            (7_200, "2 h ago"),
            (172_800, "2 d ago"),
        ] {
            assert_eq!(distance(UnixSeconds(now.0 - seconds), now), said);
        }
        assert_eq!(
            moment(UnixSeconds(u64::MAX), now),
            format!("{} (Unix seconds)", u64::MAX)
        );
    }
}
