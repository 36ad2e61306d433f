//! RFC 3339 timestamps ⇄ whole seconds (draft-httpauth-payment-00, `expires`; receipts' `timestamp`).

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use weir_core::UnixSeconds;

/// Longest timestamp that is looked at; nanoseconds and an offset fit.
const TIMESTAMP_BYTES_MAX: usize = 64;

/// A string is not an RFC 3339 timestamp since 1970, or a moment lies past the year 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 timestamp between 1970 and 9999")]
pub struct TimestampError;

/// Spells a moment as `2025-01-06T12:05:00Z`.
///
/// # Errors
/// [`TimestampError`] past the year 9999, which RFC 3339 cannot spell.
pub fn write(moment: UnixSeconds) -> Result<String, TimestampError> {
    let seconds = i64::try_from(moment.0).map_err(|_| TimestampError)?;
    let date = OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| TimestampError)?;
    date.format(&Rfc3339).map_err(|_| TimestampError)
}

/// Reads a timestamp; a fraction of a second is cut off, so that an expiry is never read as later than it is.
///
/// # Errors
/// [`TimestampError`] when it is none, or before 1970.
pub fn read(text: &str) -> Result<UnixSeconds, TimestampError> {
    if text.len() > TIMESTAMP_BYTES_MAX {
        return Err(TimestampError);
    }
    let date = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| TimestampError)?;
    u64::try_from(date.unix_timestamp())
        .map(UnixSeconds)
        .map_err(|_| TimestampError)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn offsets_and_fractions_are_understood() {
        let noon = UnixSeconds(1_736_165_100);
        assert_eq!(write(noon).unwrap(), "2025-01-06T12:05:00Z");
        for same in [
            "2025-01-06T12:05:00Z",
            "2025-01-06T12:05:00.999Z",
            "2025-01-06T13:05:00+01:00",
        ] {
            assert_eq!(read(same), Ok(noon), "{same}");
        }
        for bad in [
            "",
            "2025-01-06",
            "2025-01-06T12:05:00",
            "1969-12-31T23:59:59Z",
            "tomorrow",
            "1736165100",
        ] {
            assert_eq!(read(bad), Err(TimestampError), "{bad:?}");
        }
        assert_eq!(write(UnixSeconds(u64::MAX)), Err(TimestampError));
    }

    proptest! {
        #[test]
        fn a_moment_goes_there_and_back(seconds in 0u64..253_402_300_800) {
            let moment = UnixSeconds(seconds);
            prop_assert_eq!(read(&write(moment).unwrap()), Ok(moment));
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".{0,80}") {
            let _ = read(&text);
        }
    }
}
