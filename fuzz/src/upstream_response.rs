//! What a server answers over HTTP/1.1.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use portcullis::message::body::RequestBody;
use portcullis::reject::Reason;
use portcullis::upstream::{Heard, ask};

use super::run::{Client, Pieces, Then, stream, to_the_end};

/// Any bytes are an answer or none; however they arrive, they are the same answer; and a connection on which something
/// was said that belongs to no answer is never used again.
///
/// # Panics
/// When that is not so.
pub fn check(bytes: &[u8]) {
    // The first byte chooses what was asked, because an answer is read differently after a HEAD.
    let Some((first, answer)) = bytes.split_first() else { return };
    let whole = to_the_end(exchange(*first, answer, Pieces::Whole));
    if let Ok(heard) = &whole {
        let status = heard.status.as_u16();
        assert!(status >= 200 || status == 101, "{status} is not final");
        assert!(heard.early.iter().all(|(status, _)| status.is_informational()), "{heard:?}");
        let bodiless = first % 3 == 1 || [204, 304].contains(&status);
        assert!(heard.body.is_empty() || !bodiless, "{heard:?}");
    }
    if answer.len() <= 4096 {
        // Bytes behind the answer are seen at once only if they come with it; what is said is the same.
        let plain = |heard: Heard| Heard { reusable: false, ..heard };
        let single = to_the_end(exchange(*first, answer, Pieces::Single));
        assert!(!matches!((&whole, &single), (Ok(Heard { reusable: true, .. }), Ok(Heard { reusable: false, .. }))));
        assert_eq!(single.map(plain), whole.map(plain));
    }
}

async fn exchange(kind: u8, answer: &[u8], pieces: Pieces) -> Result<Heard, Reason> {
    let (gate, server) = stream();
    let (method, body) = match kind % 3 {
        0 => ("GET", RequestBody::Empty),
        1 => ("HEAD", RequestBody::Empty),
        _ => ("POST", RequestBody::Stream(Box::pin(Full::new(Bytes::from("body")).map_err(|never| match never {})))),
    };
    let request = Request::builder().method(method).uri("/").body(body).expect("a request");
    let (heard, _) = tokio::join!(ask(gate, request), Client::talk(server, answer, pieces, Then::Close));
    heard.map_err(|reject| reject.reason)
}
