//! Where one server-sent event ends (WHATWG HTML, Server-sent events, Parsing an event stream).
//!
//! The till meters per event and passes the bytes on as they came, so this splitter looks only for the blank
//! line that ends an event and keeps every byte: put together again, the parts are the stream.

use crate::limits::SSE_EVENT_BYTES_MAX;
use crate::sse::RESERVED_PREFIX;

/// An event is longer than the splitter takes; the stream cannot be followed any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a server-sent event is longer than allowed")]
pub struct SseTooLong;

/// One event with its blank line, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SseEvent {
    bytes: Vec<u8>,
}

impl SseEvent {
    /// The bytes as they came.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes as they came.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The event's name: the last `event` field.
    pub fn name(&self) -> Option<&[u8]> {
        self.fields(b"event").last()
    }

    /// The event's data, its lines joined by newlines; `None` when it has none and a client would drop it
    /// (a comment, a keep-alive).
    pub fn data(&self) -> Option<Vec<u8>> {
        let lines: Vec<&[u8]> = self.fields(b"data").collect();
        (!lines.is_empty()).then(|| lines.join(&b'\n'))
    }

    /// True when a client would see an event: this is what is metered.
    pub fn has_data(&self) -> bool {
        self.fields(b"data").next().is_some()
    }

    /// True when any `event` field begins with [`RESERVED_PREFIX`]: only the till may speak of payment.
    pub fn is_reserved(&self) -> bool {
        self.fields(b"event")
            .any(|name| name.starts_with(RESERVED_PREFIX.as_bytes()))
    }

    /// The values of one field, each less one leading space.
    fn fields<'a>(&'a self, field: &'static [u8]) -> impl Iterator<Item = &'a [u8]> {
        // A client drops a byte order mark at the stream's start; dropping it everywhere hides nothing.
        let bytes = self.bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&self.bytes);
        let lines = bytes.split(|byte| matches!(byte, b'\n' | b'\r'));
        lines.filter_map(move |line| {
            let rest = line.strip_prefix(field)?;
            match rest.split_first() {
                None => Some(rest),
                Some((b':', value)) => Some(value.strip_prefix(b" ").unwrap_or(value)),
                Some(_) => None,
            }
        })
    }
}

/// Finds the ends of events in a stream that arrives in pieces. Lines end in LF, CR LF or CR.
#[derive(Debug)]
pub struct SseSplitter {
    pending: Vec<u8>,
    bytes_max: usize,
    /// The line that is being read has no byte yet.
    line_is_empty: bool,
    /// The last byte was CR: an LF now belongs to it.
    after_cr: bool,
    broken: bool,
}

impl Default for SseSplitter {
    fn default() -> Self {
        Self::new(SSE_EVENT_BYTES_MAX)
    }
}

impl SseSplitter {
    /// A splitter that takes events of at most `bytes_max` bytes, blank line included.
    pub const fn new(bytes_max: usize) -> Self {
        Self {
            pending: Vec::new(),
            bytes_max,
            line_is_empty: true,
            after_cr: false,
            broken: false,
        }
    }

    /// Takes the next piece and puts the events that it completes into `into`.
    ///
    /// An event is complete with the first byte of its blank line's ending, so that a stream of lone CRs is
    /// not held back. Should an LF follow in the next piece, it stands before the next event, where it means
    /// nothing.
    ///
    /// # Errors
    /// [`SseTooLong`], now and ever after, when an event outgrows the limit; the events before it are in `into`.
    pub fn feed(&mut self, piece: &[u8], into: &mut Vec<SseEvent>) -> Result<(), SseTooLong> {
        let mut rest = piece.iter().copied().peekable();
        while let Some(byte) = rest.next() {
            if self.broken || self.pending.len() >= self.bytes_max {
                self.broken = true;
                return Err(SseTooLong);
            }
            self.pending.push(byte);
            if byte == b'\n' && core::mem::take(&mut self.after_cr) {
                continue;
            }
            self.after_cr = byte == b'\r';
            let ends_line = matches!(byte, b'\n' | b'\r');
            if ends_line && self.line_is_empty {
                if self.after_cr && rest.next_if_eq(&b'\n').is_some() {
                    self.pending.push(b'\n');
                    self.after_cr = false;
                }
                into.push(SseEvent {
                    bytes: core::mem::take(&mut self.pending),
                });
            }
            self.line_is_empty = ends_line;
        }
        Ok(())
    }

    /// Ends the stream: the bytes of an event that never ended, which a client drops.
    pub fn finish(self) -> Vec<u8> {
        self.pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(pieces: &[&[u8]]) -> (Vec<Vec<u8>>, Vec<u8>) {
        let mut splitter = SseSplitter::default();
        let mut events = Vec::new();
        for piece in pieces {
            splitter.feed(piece, &mut events).unwrap();
        }
        (
            events.into_iter().map(SseEvent::into_bytes).collect(),
            splitter.finish(),
        )
    }

    #[test]
    fn each_kind_of_line_end_ends_an_event() {
        for end in ["\n", "\r\n", "\r"] {
            let stream = "data: a~data: b~~: ping~~data: c~~tail".replace('~', end);
            let (events, tail) = split(&[stream.as_bytes()]);
            let expected = ["data: a~data: b~~", ": ping~~", "data: c~~"].map(|text| text.replace('~', end));
            assert_eq!(events, expected.map(String::into_bytes), "{end:?}");
            assert_eq!(tail, b"tail");
        }
        let mixed = b"a\r\nb\rc\n\r\nd\n\r";
        assert_eq!(
            split(&[mixed]).0,
            [b"a\r\nb\rc\n\r\n".to_vec(), b"d\n\r".to_vec()]
        );
    }

    #[test]
    fn an_event_is_not_held_back_for_a_line_feed_that_may_follow() {
        let (events, tail) = split(&[b"data: a\r\n\r", b"\ndata: b\r\n\r\n"]);
        assert_eq!(events, [b"data: a\r\n\r".to_vec(), b"\ndata: b\r\n\r\n".to_vec()]);
        assert!(tail.is_empty());
    }

    #[test]
    fn names_and_data_are_a_clients() {
        let event = |text: &str| SseEvent {
            bytes: text.as_bytes().to_vec(),
        };
        let plain = event("event: x\ndata:a\ndata:  b\ndata\ndatum: c\n\n");
        assert_eq!(
            (plain.name(), plain.data()),
            (Some(b"x".as_slice()), Some(b"a\n b\n".to_vec()))
        );
        assert!(!event(": ping\n\n").has_data());
        assert!(!event("\n").has_data());
        assert!(event("data\n\n").has_data());
    }

    #[test]
    fn threat_h1_reserved_names_are_seen_however_they_are_spelled() {
        for text in [
            "event: payment-receipt\ndata: {}\n\n",
            "event:payment-need-voucher\n\n",
            "data: x\revent: payment-receipt\r\r",
            "\u{feff}event: payment-receipt\n\n",
            "event: payment-x\nevent: harmless\n\n",
        ] {
            assert!(
                SseEvent {
                    bytes: text.as_bytes().to_vec()
                }
                .is_reserved(),
                "{text:?}"
            );
        }
        let plain = SseEvent {
            bytes: b"data: event: payment-receipt\nevent: pay\n\n".to_vec(),
        };
        assert!(!plain.is_reserved());
    }

    #[test]
    fn threat_h4_an_endless_event_is_cut_off() {
        let mut splitter = SseSplitter::new(16);
        let mut events = Vec::new();
        assert_eq!(
            splitter.feed(b"data: 1\n\ndata: 0123456789abcdef\n\n", &mut events),
            Err(SseTooLong)
        );
        assert_eq!(events.len(), 1);
        assert_eq!(splitter.feed(b"x", &mut events), Err(SseTooLong));
        assert!(splitter.finish().len() <= 16);
    }

    proptest! {
        #[test]
        fn the_parts_are_the_stream_wherever_it_is_cut(stream in "[ad:\r\n]{0,40}", cuts in proptest::collection::vec(0usize..8, 0..20)) {
            let (whole, _) = split(&[stream.as_bytes()]);
            let (mut pieces, mut rest) = (Vec::new(), stream.as_bytes());
            for cut in cuts {
                let (piece, behind) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = behind;
            }
            pieces.push(rest);
            let (events, tail) = split(&pieces);
            prop_assert_eq!([events.concat(), tail].concat(), stream.as_bytes());
            let meaning = |events: &[Vec<u8>]| -> Vec<_> {
                events.iter().map(|bytes| SseEvent { bytes: bytes.clone() }.data()).collect()
            };
            prop_assert_eq!(meaning(&events), meaning(&whole));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let mut events = Vec::new();
            let _ = SseSplitter::new(32).feed(&bytes, &mut events);
            for event in &events {
                let _ = (event.name(), event.data(), event.is_reserved());
            }
        }
    }
}
