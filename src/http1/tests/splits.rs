//! However a conversation is cut into pieces, it is the same conversation.

use proptest::prelude::*;

use super::*;

/// Every framing, pipelined.
fn conversation() -> String {
    [
        "\r\n".to_owned(),
        request("GET", "/x?y=z", "Accept: */*\r\n"),
        request("POST", "/read", "Content-Length: 11\r\n"),
        "hello\r\nworl".into(),
        request("POST", "/read", "Transfer-Encoding: chunked\r\n"),
        "5\r\nhello\r\nA;x\r\n0123456789\r\n0\r\nDigest: d\r\n\r\n".into(),
        request("POST", "/ignore", "Content-Length: 5\r\n"),
        "hello".into(),
        request("HEAD", "/x", ""),
        "OPTIONS * HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".into(),
        bye(),
    ]
    .concat()
}

async fn in_pieces(pieces: Vec<Vec<u8>>) -> (String, Vec<String>, bool) {
    let mut client = Client::new();
    for piece in pieces {
        client.send(piece).await;
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
    }
    let answer = client.rest().await;
    let log = client.log();
    (answer, log, matches!(client.ended().await, Ended::Closed))
}

#[tokio::test(start_paused = true)]
async fn a_conversation_can_be_cut_at_any_byte() {
    let whole = conversation().into_bytes();
    let expected = in_pieces(vec![whole.clone()]).await;
    assert_eq!(
        expected.1,
        ["GET /x?y=z", "POST /read", "POST /read", "POST /ignore", "HEAD /x", "OPTIONS *", "GET /bye"]
    );
    for at in 0..whole.len() {
        let (before, behind) = whole.split_at(at);
        assert_eq!(in_pieces(vec![before.to_vec(), behind.to_vec()]).await, expected, "cut at {at}");
    }
    assert_eq!(in_pieces(whole.chunks(1).map(<[u8]>::to_vec).collect()).await, expected);
}

/// Runs a future on a clock of its own.
fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_conversation_can_be_cut_anywhere(cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..12)) {
        let whole = conversation().into_bytes();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.index(whole.len())).chain([0, whole.len()]).collect();
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|pair| whole[pair[0]..pair[1]].to_vec()).collect();
        prop_assert_eq!(run(in_pieces(pieces)), run(in_pieces(vec![whole])));
    }

    #[test]
    fn arbitrary_bytes_end_in_an_orderly_way(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        let (answer, _, _) = run(in_pieces(vec![bytes]));
        prop_assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 "));
    }

    #[test]
    fn a_damaged_conversation_ends_in_an_orderly_way(at in any::<proptest::sample::Index>(), byte: u8) {
        let mut damaged = conversation().into_bytes();
        let at = at.index(damaged.len());
        damaged[at] = byte;
        let (answer, _, _) = run(in_pieces(vec![damaged]));
        prop_assert!(answer.starts_with("HTTP/1.1 "));
    }
}
