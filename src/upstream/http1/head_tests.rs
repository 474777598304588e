//! What servers may say, and what no two programs may read differently.

use proptest::prelude::*;

use super::*;

/// Reads a head that arrives in pieces of `step` bytes; what is left of the bytes.
fn read(bytes: &[u8], step: usize) -> Result<Option<(Head, Vec<u8>)>, Wrong> {
    let (mut reader, mut buffer) = (Reader::default(), BytesMut::new());
    let mut pieces = bytes.chunks(step.max(1));
    while let Some(piece) = pieces.next() {
        buffer.extend_from_slice(piece);
        if let Some(head) = reader.read(&mut buffer)? {
            let left = buffer.iter().copied().chain(pieces.flatten().copied()).collect();
            return Ok(Some((head, left)));
        }
    }
    Ok(None)
}

fn whole(text: &str) -> Head {
    read(text.as_bytes(), usize::MAX).unwrap().expect("a whole head").0
}

/// How the body of the answer to `method` ends, if the head is accepted.
fn framed(method: &Method, text: &str) -> Result<String, Wrong> {
    let (head, _) = read(text.as_bytes(), usize::MAX)?.ok_or("not whole")?;
    head.inbound(method).map(|inbound| format!("{inbound:?}"))
}

#[test]
fn heads_are_read_and_what_follows_stays() {
    let (head, left) = read(b"HTTP/1.1 200 OK\r\nA: 1\r\nB: 2\r\n\r\nbody", usize::MAX).unwrap().unwrap();
    assert_eq!((head.status, head.version, head.headers.len()), (StatusCode::OK, Version::HTTP_11, 2));
    assert_eq!(left, b"body");
    for (line, status) in [
        ("HTTP/1.1 204", 204),
        ("HTTP/1.1 299 ", 299),
        ("HTTP/1.0 404 Not\tFound", 404),
        ("HTTP/1.1 200 \u{e4}", 200),
        ("HTTP/1.1 999 x", 999),
    ] {
        assert_eq!(whole(&format!("{line}\r\n\r\n")).status.as_u16(), status, "{line}");
    }
}

#[test]
fn what_is_no_status_line_is_refused() {
    let table = [
        "\r\nHTTP/1.1 200 OK\r\n\r\n",
        " HTTP/1.1 200 OK\r\n\r\n",
        "http/1.1 200 OK\r\n\r\n",
        "HTTP/1.2 200 OK\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.1\t200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 200OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1 +20 OK\r\n\r\n",
        "HTTP/1.1 200 O\0K\r\n\r\n",
        "HTTP/1.1 200 OK\r X: y\r\n\r\n",
        "HTTP/1.1 \r\n\r\n",
        "HTTP/1.1\r\n\r\n",
        "SSH-2.0-OpenSSH_9.9\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
        "\u{16}\u{3}\u{1}",
    ];
    for text in table {
        assert!(read(text.as_bytes(), usize::MAX).is_err(), "{text:?}");
    }
}

#[test]
fn what_two_programs_could_read_in_two_ways_is_refused() {
    let table = [
        "content-length: 1\r\ncontent-length: 1\r\n",
        "content-length: 1\r\ncontent-length: 2\r\n",
        "content-length: 1, 1\r\n",
        "content-length: -1\r\n",
        "content-length: +1\r\n",
        "content-length: 0x1\r\n",
        "content-length: 01\r\n",
        "content-length: 1 1\r\n",
        "content-length: \r\n",
        "content-length: 18446744073709551616\r\n",
        "content-length: 1\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 1\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: identity\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding: \x0bchunked\r\n",
        "transfer-encoding : chunked\r\n",
        "content-length : 1\r\n",
        " content-length: 1\r\n",
        "x: y\r\n content-length: 1\r\n",
        "x: y\r\n\tfolded\r\n",
        "x: y\ncontent-length: 1\r\n",
        "x: y\rcontent-length: 1\r\n",
        "x: y\0\r\n",
        "x y: z\r\n",
        ": x\r\n",
        "x\r\n",
    ];
    for fields in table {
        for method in [Method::GET, Method::HEAD] {
            let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
            assert!(framed(&method, &text).is_err(), "{method} {fields:?}");
        }
    }
    assert!(framed(&Method::GET, "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
    assert!(framed(&Method::GET, "HTTP/1.1 200 OK\r\nx: y\r\n\n").is_err());
}

#[test]
fn a_body_ends_as_its_method_status_and_fields_say() {
    let table = [
        ("GET", "200 OK\r\n", "UntilClose"),
        ("GET", "200 OK\r\ncontent-length: 0\r\n", "Done"),
        ("GET", "200 OK\r\ncontent-length: 7\r\n", "Length(7)"),
        ("GET", "204 No Content\r\ncontent-length: 7\r\n", "Done"),
        ("GET", "304 Not Modified\r\ncontent-length: 7\r\n", "Done"),
        ("GET", "304 Not Modified\r\ntransfer-encoding: chunked\r\n", "Done"),
        ("HEAD", "200 OK\r\ncontent-length: 7\r\n", "Done"),
        ("HEAD", "200 OK\r\n", "Done"),
        ("POST", "413 Too Large\r\ncontent-length: 7\r\n", "Length(7)"),
    ];
    for (method, head, expected) in table {
        let method = method.parse().unwrap();
        assert_eq!(framed(&method, &format!("HTTP/1.1 {head}\r\n")).unwrap(), expected, "{method} {head}");
    }
    let chunked = framed(&Method::GET, "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n").unwrap();
    assert!(chunked.starts_with("Chunked"), "{chunked}");
}

#[test]
fn a_connection_persists_unless_the_server_says_otherwise() {
    let table = [
        ("HTTP/1.1 200 OK\r\n", true),
        ("HTTP/1.1 200 OK\r\nconnection: Close\r\n", false),
        ("HTTP/1.1 200 OK\r\nconnection: x, close\r\n", false),
        ("HTTP/1.1 200 OK\r\nconnection: keep-alive\r\nconnection: close\r\n", false),
        ("HTTP/1.0 200 OK\r\n", false),
        ("HTTP/1.0 200 OK\r\nconnection: Keep-Alive\r\n", true),
        ("HTTP/1.0 200 OK\r\nconnection: keep-alive, close\r\n", false),
    ];
    for (head, persists) in table {
        assert_eq!(whole(&format!("{head}\r\n")).persists(), persists, "{head}");
    }
}

#[test]
fn heads_are_bounded_in_bytes_and_fields() {
    let fields = |count: usize| format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(count));
    assert_eq!(whole(&fields(BOUNDS.count)).headers.len(), BOUNDS.count);
    assert!(read(fields(BOUNDS.count + 1).as_bytes(), usize::MAX).is_err());
    let long = |bytes: usize| format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "b".repeat(bytes - 24));
    assert_eq!(whole(&long(BOUNDS.bytes)).headers.len(), 1);
    for step in [1000, usize::MAX] {
        assert!(read(long(BOUNDS.bytes + 1).as_bytes(), step).is_err());
    }
    assert!(read(&[b"HTTP/1.1 200 ".as_slice(), &vec![b'x'; 1 << 17]].concat(), 4096).is_err());
}

proptest! {
    #[test]
    fn it_does_not_matter_how_the_bytes_arrive(
        text in r"HTTP/1\.[01] [1-5][0-9]{2}( [a-z]{0,4})?\r\n((content-length|transfer-encoding|connection|x): ?(chunked|[0-9]{1,3}|close|a b)?\r?\n){0,4}(\r\n)?[a-z]{0,9}",
        step in 1_usize..20,
    ) {
        let tell = |outcome: Result<Option<(Head, Vec<u8>)>, Wrong>| {
            outcome.map(|found| found.map(|(head, left)| (head.status, head.headers, left))).map_err(drop)
        };
        prop_assert_eq!(tell(read(text.as_bytes(), step)), tell(read(text.as_bytes(), usize::MAX)));
    }

    #[test]
    fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&bytes, usize::MAX);
        let _ = read(&[b"HTTP/1.1 200 OK\r\n".as_slice(), &bytes].concat(), usize::MAX);
    }
}
