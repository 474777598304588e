//! What could be read in two ways: refused, closed, and never a second request.

use super::*;

/// What must never be taken for a request.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";

/// Sends `attack` and the smuggled request in one go, and byte by byte: one response, of `status`, and the end.
async fn refuses(attack: &[u8], status: &str) {
    let bytes = [attack, SMUGGLED.as_bytes()].concat();
    for step in [bytes.len(), 1] {
        let mut client = Client::new();
        for piece in bytes.chunks(step) {
            client.send(piece).await;
            tokio::task::yield_now().await;
        }
        let answer = client.rest().await;
        let shown = String::from_utf8_lossy(attack).into_owned();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{shown:?}: {answer:?}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{shown:?}: {answer:?}");
        assert!(answer.contains("connection: close\r\n"), "{shown:?}: {answer:?}");
        let log = client.log();
        assert!(!log.iter().any(|line| line.starts_with("GET /smuggled")), "{shown:?}: {log:?}");
        assert!(matches!(client.ended().await, Ended::Closed), "{shown:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn contradictory_or_odd_framing_is_refused() {
    for fields in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding\t: chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
        "Transfer-Encoding: \x0cchunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: identity, chunked\r\n",
        "Transfer-Encoding: chunked\u{a0}\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "Transfer-Encoding:\r\n",
        " Transfer-Encoding: chunked\r\n",
        "X: y\nTransfer-Encoding: chunked\r\n",
        "X: y\rTransfer-Encoding: chunked\r\n",
        "X: y\0\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 4\r\nContent-Length: 4\r\n",
        "Content-Length: 4\r\nContent-Length: 5\r\n",
        "Content-Length: 4, 4\r\n",
        "Content-Length: +4\r\n",
        "Content-Length: -4\r\n",
        "Content-Length: 0x4\r\n",
        "Content-Length: 04\r\n",
        "Content-Length: 4 4\r\n",
        "Content-Length: 4;x\r\n",
        "Content-Length:\r\n",
        "Content-Length : 4\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Content-Length: 99999999999999999999999999\r\n",
        "Content-Length\r\n: 4\r\n",
        "X: y\r\n\tContent-Length: 4\r\n",
        ": x\r\n",
        "X\r\n",
        "X\u{e9}: y\r\n",
        "X: y\x7f\r\n",
    ] {
        refuses(request("POST", "/read", fields).as_bytes(), "400").await;
    }
    refuses(b"POST /read HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400").await;
}

#[tokio::test(start_paused = true)]
async fn odd_request_lines_are_refused() {
    for (line, status) in [
        ("GET / HTTP/1.1\n", "400"),
        ("GET  / HTTP/1.1\r\n", "400"),
        ("GET /  HTTP/1.1\r\n", "400"),
        ("GET\t/\tHTTP/1.1\r\n", "400"),
        ("GET / HTTP/1.1 \r\n", "400"),
        ("GET /\r\n", "400"),
        ("GET / HTTP/0.9\r\n", "505"),
        ("GET / HTTP/1.2\r\n", "505"),
        ("GET / HTTP/2.0\r\n", "505"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400"),
        ("GET /#x HTTP/1.1\r\n", "400"),
        ("GET x HTTP/1.1\r\n", "400"),
        ("\r\n\r\nGET / HTTP/1.1\r\n", "400"),
        ("\nGET / HTTP/1.1\r\n", "400"),
        ("\0GET / HTTP/1.1\r\n", "400"),
    ] {
        refuses(format!("{line}Host: h\r\n\r\n").as_bytes(), status).await;
    }
    refuses(format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(200)).as_bytes(), "414").await;
    refuses(request("GET", "/", &"X: y\r\n".repeat(17)).as_bytes(), "431").await;
    refuses(request("GET", "/", &format!("X: {}\r\n", "y".repeat(2000))).as_bytes(), "431").await;
    refuses(&vec![b'A'; 100_000], "431").await;
}

#[tokio::test(start_paused = true)]
async fn odd_chunks_are_refused() {
    for chunks in [
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r\n0\n\r\n",
        "5\r\nhello\r\n0\r\n\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5;\n\r\nhello\r\n0\r\n\r\n",
        "5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n",
        "4\r\nhello\r\n0\r\n\r\n",
        "6\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "0\r\nContent-Length : 5\r\n\r\n",
        "0\r\nX\r\n\r\n",
        "0\r\n X: y\r\n\r\n",
        "\r\n0\r\n\r\n",
        "-0\r\n\r\n",
    ] {
        refuses((request("POST", "/read", "Transfer-Encoding: chunked\r\n") + chunks).as_bytes(), "400").await;
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_behind_a_refused_upgrade_or_connect_are_no_request() {
    for head in [
        request("GET", "/x", "Connection: upgrade\r\nUpgrade: websocket\r\n"),
        request("GET", "/x", "Upgrade: h2c\r\n"),
    ] {
        refuses(head.as_bytes(), "200").await;
    }
    refuses(b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n", "502").await;
}

#[tokio::test(start_paused = true)]
async fn a_request_hidden_in_a_body_stays_in_the_body() {
    let hidden = format!("Content-Length: {}\r\n", SMUGGLED.len());
    let (answer, log) = Client::talk(request("POST", "/read", &hidden) + SMUGGLED + &bye()).await;
    assert!(answer.contains(SMUGGLED));
    assert_eq!(log, ["POST /read", "GET /bye"]);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_recorded_with_what_was_seen() {
    for (bytes, line) in [
        ("GET /a HTTP/1.1\r\nX : y\r\n\r\n", "refused request_malformed GET /a"),
        ("POST /b HTTP/1.1\r\nContent-Length: x\r\n\r\n", "refused request_framing POST /b"),
        ("GET /c HTTP/1.7\r\n\r\n", "refused request_version GET /c"),
        ("\x16\x03\x01\r\n", "refused request_malformed - -"),
    ] {
        assert_eq!(Client::talk(bytes).await.1, [line]);
    }
}
