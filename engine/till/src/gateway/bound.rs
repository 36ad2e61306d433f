//! Routes with `bind_body`: a challenge is made for one request body and buys the answer to no other
//! (draft-httpauth-payment-00, Request Body Digest Binding).

use crate::No;
use crate::gateway::answer::Denied;
use axum::body::Body;
use axum::extract::Request;
use futures_util::StreamExt;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use weir_protocol::Challenge;
use weir_protocol::digest::ContentDigest;
use weir_protocol::problem::{Problem, ProblemType};

/// Bodies that are read whole, all together, in KiB: who has paid nothing yet must not fill the memory.
const HELD_KIB_MAX: u32 = 256 * 1024;
/// How long a body that is read whole may take.
const BODY_READ_MAX: Duration = Duration::from_secs(30);
/// How long it may fall silent on the way.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// The room for bodies that are read whole.
#[derive(Debug)]
pub struct Bodies {
    room: Semaphore,
    bytes_max: usize,
}

impl Bodies {
    /// Room for bodies of at most so many bytes each; for one at least.
    pub fn new(bytes_max: usize) -> Self {
        let room = HELD_KIB_MAX.max(kib(bytes_max));
        Self {
            room: Semaphore::new(usize::try_from(room).unwrap_or(Semaphore::MAX_PERMITS)),
            bytes_max,
        }
    }

    /// Reads a request's body whole; gives the request with it, its digest, and the room that it takes.
    ///
    /// # Errors
    /// The room is taken, or the body is too long, too slow or broken off.
    pub async fn read(
        &self,
        request: Request,
    ) -> Result<(Request, ContentDigest, SemaphorePermit<'_>), Denied> {
        let (parts, body) = request.into_parts();
        let read = tokio::time::timeout(BODY_READ_MAX, self.hold(body)).await;
        let (body, room) = read.unwrap_or_else(|_| Err(too_slow()))?;
        let digest = ContentDigest::of(&body);
        Ok((Request::from_parts(parts, Body::from(body)), digest, room))
    }

    /// Takes room as the body comes, not as it is announced: what nobody sent takes none.
    async fn hold(&self, body: Body) -> Result<(Vec<u8>, SemaphorePermit<'_>), Denied> {
        let busy = |_| Denied::from(No::Busy);
        let (mut held, mut pieces) = (Vec::new(), body.into_data_stream());
        let mut room = self.room.try_acquire_many(0).map_err(busy)?;
        loop {
            let piece = tokio::time::timeout(SILENCE_MAX, pieces.next()).await;
            let piece = match piece.map_err(|_| too_slow())? {
                None => return Ok((held, room)),
                Some(Ok(piece)) if piece.len() <= self.bytes_max - held.len() => piece,
                Some(_) => {
                    let said = format!(
                        "the request's body is above {} bytes, or it broke off; nothing was charged",
                        self.bytes_max
                    );
                    return Err(Problem::blank(413, said).into());
                }
            };
            let more = kib(held.len() + piece.len()) - kib(held.len());
            room.merge(self.room.try_acquire_many(more).map_err(busy)?);
            held.extend_from_slice(&piece);
        }
    }
}

/// Whether a challenge was made for this body, or for a request without one.
///
/// # Errors
/// It was made for another.
pub fn must_be_bound(challenge: &Challenge, digest: Option<ContentDigest>) -> Result<(), Denied> {
    let made_for = challenge.digest.as_deref().map(str::parse::<ContentDigest>);
    let fits = match (made_for, digest) {
        (None, None) => true,
        (Some(Ok(made_for)), Some(digest)) => made_for == digest,
        _ => false,
    };
    if fits {
        return Ok(());
    }
    Err(Denied::of_type(
        ProblemType::VerificationFailed,
        "the challenge was made for another request body; answer the challenge that comes with this",
    ))
}

fn too_slow() -> Denied {
    Problem::blank(408, "the request's body took too long; nothing was charged").into()
}

/// Rounded up.
fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Bytes;
    use axum::http::header;
    use futures_util::future::join_all;
    use futures_util::stream;
    use std::convert::Infallible;

    const BYTES_MAX: usize = 1024 * 1024;

    /// A request whose body is announced to be as long as it may be, of which this comes, and then nothing.
    fn stalled(comes: usize) -> Request {
        let piece = Bytes::from(vec![b'x'; comes]);
        let pieces = stream::iter([Ok::<_, Infallible>(piece)]).chain(stream::pending());
        let request = Request::builder().header(header::CONTENT_LENGTH, BYTES_MAX);
        request.body(Body::from_stream(pieces)).unwrap()
    }

    fn whole() -> Request {
        Request::new(Body::from(vec![b'y'; BYTES_MAX]))
    }

    /// Whether a whole body finds room while so many stand still after so many bytes each.
    async fn finds_room(count: usize, comes: usize) -> Result<(), u16> {
        let bodies = Bodies::new(BYTES_MAX);
        let stalled = join_all((0..count).map(|_| bodies.read(stalled(comes))));
        let beside = async {
            // Those that stand still have come as far as they will.
            tokio::time::sleep(SILENCE_MAX / 2).await;
            bodies.read(whole()).await.map(drop)
        };
        tokio::select! {
            beside = beside => beside.map_err(|denied| denied.problem.status()),
            _ = stalled => Err(0),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn threat_h4_a_body_that_is_announced_and_not_sent_takes_no_room() {
        let all = usize::try_from(HELD_KIB_MAX).unwrap() * 1024 / BYTES_MAX;
        assert_eq!(finds_room(all * 4, 100).await, Ok(()));
        assert_eq!(
            finds_room(all, BYTES_MAX).await,
            Err(503),
            "what was sent takes its room"
        );
        assert_eq!(finds_room(all - 1, BYTES_MAX).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn threat_h4_a_body_that_stands_still_is_given_up_with_its_room() {
        let bodies = Bodies::new(BYTES_MAX);
        let began = tokio::time::Instant::now();
        let said = bodies.read(stalled(BYTES_MAX / 2)).await.map(drop);
        assert_eq!(said.map_err(|denied| denied.problem.status()), Err(408));
        assert_eq!(began.elapsed(), SILENCE_MAX);
        assert_eq!(bodies.room.available_permits(), HELD_KIB_MAX as usize);
        let (_, digest, room) = bodies.read(whole()).await.unwrap();
        assert_eq!(digest, ContentDigest::of(&vec![b'y'; BYTES_MAX]));
        assert_eq!(room.num_permits() * 1024, BYTES_MAX);
    }
}
