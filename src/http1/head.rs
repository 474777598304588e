//! A request head: from bytes to a request without a body, or a refusal, at the first byte that decides it.

use bytes::{Buf, Bytes, BytesMut};
use http::request::Parts;
use http::{Method, Request, Uri, Version};

use super::settings::Settings;
use crate::codec::framing::{self, Framing};
use crate::codec::{Flaw, Scan, fields};
use crate::reject::{Reason, Reject};

/// A head that was understood.
#[derive(Debug)]
pub(super) struct Head {
    /// Method, target, version and fields.
    pub(super) parts: Parts,
    /// Where the body ends.
    pub(super) framing: Framing,
}

/// Reads one head out of a buffer that grows.
#[derive(Debug, Default)]
pub(super) struct Reader {
    scan: Scan,
    /// Length of the request line with its CRLF, once that has been judged.
    line: Option<usize>,
    skipped: bool,
    refused: Bytes,
}

impl Reader {
    /// Takes a head out of `buffer` if there is a whole one. What is behind it stays.
    ///
    /// # Errors
    /// The head is malformed or too long, or its framing is ambiguous; the connection is of no further use.
    pub(super) fn read(&mut self, buffer: &mut BytesMut, bounds: &Settings) -> Result<Option<Head>, Reject> {
        self.skip_empty_line(buffer);
        match self.end(buffer, bounds) {
            Ok(None) => Ok(None),
            Ok(Some(end)) => {
                let block = buffer.split_to(end).freeze();
                parse(&block, self.scan.lines()).map(Some).inspect_err(|_| self.refused = first_line(&block))
            }
            Err(reject) => {
                self.refused = first_line(buffer);
                Err(reject)
            }
        }
    }

    /// The request line of what was refused or is incomplete, as far as it came; for records.
    pub(super) fn line(&self, buffer: &[u8]) -> Bytes {
        if self.refused.is_empty() { first_line(buffer) } else { self.refused.clone() }
    }

    /// RFC 9112 §2.2: old clients send CRLF behind a body. One is let pass, so that no client can keep us busy with nothing.
    fn skip_empty_line(&mut self, buffer: &mut BytesMut) {
        if !self.skipped && buffer.starts_with(b"\r\n") {
            buffer.advance(2);
            self.skipped = true;
        }
    }

    fn end(&mut self, buffer: &[u8], bounds: &Settings) -> Result<Option<usize>, Reject> {
        if !buffer.first().is_none_or(|first| first.is_ascii_graphic() || *first == b'\r') {
            return Err(malformed("the first byte cannot begin a method"));
        }
        let window = buffer.get(..bounds.header_bytes).unwrap_or(buffer);
        let end = self.scan.advance(window).map_err(Flaw::detail).map_err(malformed);
        self.judge_line(window, bounds)?;
        let end = end?;
        if end.is_none() && buffer.len() >= bounds.header_bytes {
            return Err(Reject::new(Reason::HeaderBytes, format!("more than {} bytes", bounds.header_bytes)));
        }
        if self.scan.lines().saturating_sub(1) > bounds.header_count {
            return Err(Reject::new(Reason::HeaderCount, format!("more than {} fields", bounds.header_count)));
        }
        Ok(end)
    }

    /// Judges the request line as soon as it is there: an HTTP/0.9 client, say, would never send the rest.
    fn judge_line(&mut self, buffer: &[u8], bounds: &Settings) -> Result<(), Reject> {
        if self.line.is_some() {
            return Ok(());
        }
        let end = memchr::memchr(b'\n', buffer).map(|at| at + 1);
        let line = end.and_then(|end| buffer.get(..end)).unwrap_or(buffer);
        if target_length(line) > bounds.uri_bytes {
            return Err(Reject::new(Reason::UriTooLong, format!("more than {} bytes", bounds.uri_bytes)));
        }
        if end.is_some() {
            RequestLine::parse(line)?;
            self.line = end;
        }
        Ok(())
    }
}

/// Understands a whole head of one request line and `lines - 1` fields.
fn parse(block: &Bytes, lines: usize) -> Result<Head, Reject> {
    let first = memchr::memchr(b'\n', block).map_or(block.len(), |at| at + 1);
    let line = RequestLine::parse(block.get(..first).unwrap_or_default())?;
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.version = line.version;
    parts.method = Method::from_bytes(line.method.as_bytes()).map_err(|_| malformed("the method is not a token"))?;
    parts.uri = target(block.slice_ref(line.target.as_bytes()), &parts.method)?;
    parts.headers = fields::parse(&block.slice(first..), lines.saturating_sub(1)).map_err(malformed)?;
    let framing =
        framing::of(&parts.headers, parts.version).map_err(|wrong| Reject::new(Reason::RequestFraming, wrong))?;
    Ok(Head { parts, framing })
}

/// The three parts of a request line.
struct RequestLine<'b> {
    method: &'b str,
    target: &'b str,
    version: Version,
}

impl<'b> RequestLine<'b> {
    /// `line` ends with CRLF.
    fn parse(line: &'b [u8]) -> Result<Self, Reject> {
        let mut parser = httparse::Request::new(&mut []);
        match parser.parse(line) {
            Ok(_) => {}
            Err(httparse::Error::Version) => return Err(version(line)),
            Err(_) => return Err(malformed("the request line is malformed")),
        }
        let (Some(method), Some(target), Some(minor)) = (parser.method, parser.path, parser.version) else {
            return Err(malformed("the request line is incomplete"));
        };
        // The parser skips some superfluous bytes in front and between; then the lengths do not add up.
        if method.len() + target.len() + " ".len() + " HTTP/1.1\r\n".len() != line.len() {
            return Err(malformed("the request line has more than its three parts"));
        }
        Ok(Self { method, target, version: if minor == 0 { Version::HTTP_10 } else { Version::HTTP_11 } })
    }
}

/// The refusal of a line whose version the parser does not know: 505 if it is one.
fn version(line: &[u8]) -> Reject {
    let mut words = line.strip_suffix(b"\r\n").unwrap_or(line).split(|byte| *byte == b' ');
    let words = (words.next(), words.next(), words.next(), words.next());
    match words {
        _ if line.starts_with(PREFACE) => malformed("an HTTP/2 preface on an HTTP/1.1 connection"),
        (Some(_), Some([_, ..]), Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor]), None)
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Reject::new(Reason::RequestVersion, "neither HTTP/1.0 nor HTTP/1.1")
        }
        _ => malformed("the request line does not end with a version"),
    }
}

/// The target in the one form that its method permits (RFC 9112 §3.2).
fn target(bytes: Bytes, method: &Method) -> Result<Uri, Reject> {
    // A fragment is never sent; `http::Uri` would drop it silently, a backend might not.
    if !bytes.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#') {
        return Err(malformed("the target has a character that no URI has"));
    }
    let origin = bytes.starts_with(b"/");
    let asterisk = *bytes == *b"*";
    let uri = Uri::from_maybe_shared(bytes).map_err(|_| malformed("the target is not a URI"))?;
    let absolute = uri.scheme().is_some() && uri.authority().is_some();
    let authority = uri.scheme().is_none() && uri.authority().is_some() && uri.path_and_query().is_none();
    let permitted = match *method {
        Method::CONNECT => authority,
        Method::OPTIONS => origin || absolute || asterisk,
        _ => origin || absolute,
    };
    if permitted { Ok(uri) } else { Err(malformed("the target is not in a form that the method permits")) }
}

/// How long the target of a line is, which may still be incomplete.
fn target_length(line: &[u8]) -> usize {
    let mut parts = line.splitn(3, |byte| *byte == b' ').skip(1);
    parts.next().map_or(0, |target| target.strip_suffix(b"\r\n").unwrap_or(target).len())
}

fn first_line(buffer: &[u8]) -> Bytes {
    let end = memchr::memchr2(b'\r', b'\n', buffer).unwrap_or(buffer.len()).min(LINE_SEEN);
    Bytes::copy_from_slice(buffer.get(..end).unwrap_or_default())
}

fn malformed(detail: &'static str) -> Reject {
    Reject::new(Reason::RequestMalformed, detail)
}

/// How an HTTP/2 connection begins (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2";

/// How much of the request line of a refused request is kept for records: enough to know the client by.
const LINE_SEEN: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::settings;
    use super::*;

    fn bounds() -> Settings {
        Settings { header_bytes: 512, header_count: 4, uri_bytes: 64, ..settings() }
    }

    fn read(bytes: &[u8]) -> Result<Option<Head>, Reason> {
        Reader::default().read(&mut BytesMut::from(bytes), &bounds()).map_err(|reject| reject.reason)
    }

    fn line(line: &str) -> Result<Head, Reason> {
        read(format!("{line}\r\nHost: h\r\n\r\n").as_bytes()).map(|head| head.expect("a whole head"))
    }

    #[test]
    fn a_plain_request_is_understood() {
        let head = line("GET /a/b?c=%20d HTTP/1.1").unwrap();
        assert_eq!((head.parts.method, head.parts.version), (Method::GET, Version::HTTP_11));
        assert_eq!(head.parts.uri.to_string(), "/a/b?c=%20d");
        assert_eq!(head.parts.headers["host"], "h");
        assert_eq!(head.framing, Framing::None);
    }

    #[test]
    fn each_target_form_is_for_its_methods() {
        let table = [
            ("GET /", true),
            ("GET //x//", true),
            ("GET http://h/x", true),
            ("GET https://h:8443", true),
            ("OPTIONS *", true),
            ("CONNECT h:443", true),
            ("QUERY /x", true),
            ("GET *", false),
            ("GET h", false),
            ("GET h:80", false),
            ("GET x/y", false),
            ("GET ?x", false),
            ("CONNECT /", false),
            ("CONNECT http://h/", false),
            ("GET /a#b", false),
            ("GET /a\u{e9}", false),
            ("GET /a\x01", false),
            ("GET /a\\b<", false),
        ];
        for (request, accepted) in table {
            let result = line(&format!("{request} HTTP/1.1")).map(|_| ());
            assert_eq!(result, if accepted { Ok(()) } else { Err(Reason::RequestMalformed) }, "{request}");
        }
    }

    #[test]
    fn a_request_line_has_three_parts_and_two_spaces() {
        for broken in [
            "",
            "GET",
            "GET /",
            "GET  / HTTP/1.1",
            "GET /  HTTP/1.1",
            "GET / HTTP/1.1 ",
            " GET / HTTP/1.1",
            "GET\t/ HTTP/1.1",
            "GET /\tHTTP/1.1",
            "GET / HTTP/1.1 x",
            "GET / x HTTP/1.1",
            "GET / http/1.1",
            "GET / HTTP/11",
            "GET / HTTP/1.1.1",
            "GET / HTTP/1.",
            "GET / HTTP",
            "G@T / HTTP/1.1",
            "GET HTTP/1.1",
            "GET /\0 HTTP/1.1",
            "\u{e9}GET / HTTP/1.1",
            "GET / HTTP/+1.1",
            "GET / ICY/1.1",
            "PRI * HTTP/2.0",
            "GET / HTTP/2",
        ] {
            assert_eq!(line(broken).map(|_| ()), Err(Reason::RequestMalformed), "{broken:?}");
        }
        for other in ["HTTP/0.9", "HTTP/1.2", "HTTP/2.0", "HTTP/3.0", "HTTP/0.0", "HTTP/9.9"] {
            assert_eq!(line(&format!("GET / {other}")).map(|_| ()), Err(Reason::RequestVersion), "{other}");
        }
        assert_eq!(line("GET / HTTP/1.0").unwrap().parts.version, Version::HTTP_10);
    }

    #[test]
    fn one_empty_line_in_front_is_let_pass_and_no_second() {
        assert!(read(b"\r\nGET / HTTP/1.1\r\n\r\n").unwrap().is_some());
        assert_eq!(read(b"\r\n\r\nGET / HTTP/1.1\r\n\r\n").map(|_| ()), Err(Reason::RequestMalformed));
        assert_eq!(read(b"\nGET / HTTP/1.1\r\n\r\n").map(|_| ()), Err(Reason::RequestMalformed));
        assert!(read(b"\r").unwrap().is_none());
    }

    #[test]
    fn a_refusal_comes_with_the_first_byte_that_decides_it() {
        let table: [(&[u8], Reason); 9] = [
            (b"\x16\x03\x01", Reason::RequestMalformed),
            (b"GET /\r\n", Reason::RequestMalformed),
            (b"GET / HTTP/1.1\n", Reason::RequestMalformed),
            (b"GET / HTTP/1.1\r\nA: b\n", Reason::RequestMalformed),
            (b"GET / HTTP/1.1\rA", Reason::RequestMalformed),
            (b"GET / HTTP/1.2\r\n", Reason::RequestVersion),
            (&[b"GET /".as_slice(), &[b'a'; 64]].concat(), Reason::UriTooLong),
            (&[b"GET / HTTP/1.1\r\nA: ".as_slice(), &[b'a'; 493]].concat(), Reason::HeaderBytes),
            (b"GET / HTTP/1.1\r\nA: 1\r\nA: 2\r\nA: 3\r\nA: 4\r\nA: 5\r\n", Reason::HeaderCount),
        ];
        for (bytes, reason) in table {
            assert_eq!(read(bytes).map(|_| ()), Err(reason), "{:?}", String::from_utf8_lossy(bytes));
            if reason != Reason::RequestMalformed || bytes.ends_with(b"\n") {
                assert!(matches!(read(&bytes[..bytes.len() - 1]), Ok(None)), "{:?}", String::from_utf8_lossy(bytes));
            }
        }
    }

    #[test]
    fn bounds_are_inclusive() {
        let head = |target: usize, value: usize| {
            format!("GET /{} HTTP/1.1\r\nA: {}\r\n\r\n", "t".repeat(target - 1), "v".repeat(value))
        };
        let fixed = head(1, 0).len();
        assert!(read(head(64, 0).as_bytes()).unwrap().is_some());
        assert_eq!(read(head(65, 0).as_bytes()).map(|_| ()), Err(Reason::UriTooLong));
        assert!(read(head(1, 512 - fixed).as_bytes()).unwrap().is_some());
        assert_eq!(read(head(1, 513 - fixed).as_bytes()).map(|_| ()), Err(Reason::HeaderBytes));
        assert!(read(b"GET / HTTP/1.1\r\nA: 1\r\nA: 2\r\nA: 3\r\nA: 4\r\n\r\n").unwrap().is_some());
    }

    #[test]
    fn a_refused_request_line_is_kept_for_the_record() {
        let mut reader = Reader::default();
        let mut buffer = BytesMut::from(&b"GET /x HTTP/1.1\r\nA : 1\r\n\r\n"[..]);
        assert!(reader.read(&mut buffer, &bounds()).is_err());
        assert_eq!(reader.line(&buffer), "GET /x HTTP/1.1");
        assert_eq!(Reader::default().line(b"GET /par"), "GET /par");
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = read(&bytes);
        }

        #[test]
        fn nothing_that_resembles_a_head_makes_it_panic(text in "(GET|POST|CONNECT|\r\n)? ?[/*h:#?%a ]{0,8} ?(HTTP/1.[012])?\r?\n([a:, \t\0]{0,6}\r?\n){0,6}") {
            let _ = read(text.as_bytes());
        }

        #[test]
        fn a_head_is_the_same_however_it_arrives(cuts in proptest::collection::vec(0usize..90, 0..8)) {
            let text = b"POST /path?query HTTP/1.1\r\nHost: example\r\nContent-Length: 5\r\nX-Thing: a b\tc\r\n\r\nhello";
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut < text.len()).chain([0, text.len()]).collect();
            cuts.sort_unstable();
            let (mut reader, mut buffer, mut found) = (Reader::default(), BytesMut::new(), None);
            for pair in cuts.windows(2) {
                buffer.extend_from_slice(&text[pair[0]..pair[1]]);
                if found.is_none() {
                    found = reader.read(&mut buffer, &bounds()).unwrap();
                }
            }
            let head = found.expect("a whole head");
            prop_assert_eq!(head.framing, Framing::Length(5));
            prop_assert_eq!(head.parts.headers.len(), 3);
            prop_assert_eq!(&buffer[..], b"hello");
        }
    }
}
