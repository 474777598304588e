//! Reading from a stream: no memory while nothing comes, little for a head, much for a body that comes fast.

use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};

/// What was read from a stream and not yet used.
#[derive(Debug)]
pub struct Intake {
    /// The bytes.
    pub buffer: BytesMut,
    room: usize,
}

impl Default for Intake {
    fn default() -> Self {
        Self { buffer: BytesMut::new(), room: ROOM_FIRST }
    }
}

impl Intake {
    /// Reads what there is, up to [`GLANCE`], behind what was read before; how much that was. While nothing comes, no
    /// memory is held.
    ///
    /// # Errors
    /// What the stream says.
    pub fn poll_glance<IO>(&mut self, cx: &mut Context<'_>, io: &mut IO) -> Poll<io::Result<usize>>
    where
        IO: AsyncRead + Unpin + ?Sized,
    {
        let mut space = [MaybeUninit::uninit(); GLANCE];
        let mut space = ReadBuf::uninit(&mut space);
        ready!(Pin::new(io).poll_read(cx, &mut space))?;
        self.buffer.extend_from_slice(space.filled());
        Poll::Ready(Ok(space.filled().len()))
    }

    /// Reads a piece of a body of which `left` bytes are to come, if that is known; how much it was. The more comes
    /// at once, the more room is made.
    ///
    /// # Errors
    /// What the stream says.
    pub fn poll_fill<IO>(&mut self, cx: &mut Context<'_>, io: &mut IO, left: Option<u64>) -> Poll<io::Result<usize>>
    where
        IO: AsyncRead + Unpin + ?Sized,
    {
        let buffer = &mut self.buffer;
        if buffer.capacity() - buffer.len() < ROOM_LEAST {
            let left = left.and_then(|left| usize::try_from(left).ok()).unwrap_or(ROOM_MOST);
            let wanted = left.clamp(ROOM_LEAST, self.room);
            match (buffer.try_reclaim(wanted), buffer.is_empty()) {
                (true, _) => {}
                // Not `reserve`, which makes twice the room of before.
                (false, true) => *buffer = BytesMut::with_capacity(wanted),
                (false, false) => buffer.reserve(wanted),
            }
        }
        let room = buffer.capacity() - buffer.len();
        let count = ready!(pin!((&mut &mut *io).read_buf(buffer)).poll(cx))?;
        if count == room {
            self.room = (self.room * 2).min(ROOM_MOST);
        }
        Poll::Ready(Ok(count))
    }

    /// Gives the memory of an empty buffer back.
    pub fn shrink(&mut self) {
        // Whatever its capacity says, which is none when all of its memory has been handed on.
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }
}

/// How much is read at once where a head may come: more than a head of a browser or of a machine's client has.
pub const GLANCE: usize = 8 * 1024;

/// The least room for a read of a body, lest it come in crumbs.
const ROOM_LEAST: usize = 2 * 1024;

/// The first room: one TLS record.
const ROOM_FIRST: usize = 16 * 1024;

/// The most room: from here on a read costs next to nothing per byte.
const ROOM_MOST: usize = 64 * 1024;
