use proptest::prelude::*;

use super::*;

/// The first bytes of a ClientHello, as they may follow in the same packet.
const HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\nPROXY \r\n\r\n\0\r\nQUIT\n";

const V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 1, 0x1f, 0x90, 0x01, 0xbb];

fn v2(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [v2::PROTOCOL_PREFIX, &[command, family], &length, payload].concat()
}

fn v6() -> Vec<u8> {
    let address = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
    [&address("2001:db8::1")[..], &address("2001:db8::2"), &8080u16.to_be_bytes(), &443u16.to_be_bytes()].concat()
}

fn of(source: &str, destination: &str) -> Header {
    Header::Forwarded { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

/// What the header says and what is left in the stream behind it.
async fn read_all(bytes: &[u8]) -> (Result<Header, Reject>, Vec<u8>) {
    let mut stream = bytes;
    let header = read(&mut stream).await;
    (header, stream.to_vec())
}

fn block_on<F: Future>(future: F) -> F::Output {
    // Slices are always ready: nothing here ever waits.
    futures_util::FutureExt::now_or_never(future).expect("it waits for something")
}

fn valid() -> Vec<(Vec<u8>, Header)> {
    let tlvs = |addresses: &[u8]| [addresses, &[0x02, 0, 3], b"api", &[0x04, 0, 0], &[0xee, 0, 1, 9]].concat();
    let v4 = of("192.0.2.1:8080", "198.51.100.1:443");
    let v6_header = of("[2001:db8::1]:8080", "[2001:db8::2]:443");
    let long = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    vec![
        (b"PROXY TCP4 192.0.2.1 198.51.100.1 8080 443\r\n".to_vec(), v4),
        (b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n".to_vec(), of("0.0.0.0:0", "0.0.0.0:0")),
        (b"PROXY TCP6 2001:db8::1 2001:db8::2 8080 443\r\n".to_vec(), v6_header),
        (
            format!("PROXY TCP6 {long} {long} 65535 65535\r\n").into_bytes(),
            of(&format!("[{long}]:65535"), &format!("[{long}]:65535")),
        ),
        (b"PROXY UNKNOWN\r\n".to_vec(), Header::Local),
        (b"PROXY UNKNOWN 192.0.2.1 198.51.100.1 8080 443\r\n".to_vec(), Header::Local),
        (format!("PROXY UNKNOWN {long} {long} 65535 65535\r\n").into_bytes(), Header::Local),
        (v2(0x21, 0x11, &V4), v4),
        (v2(0x21, 0x11, &tlvs(&V4)), v4),
        (v2(0x21, 0x21, &v6()), v6_header),
        (v2(0x21, 0x21, &tlvs(&v6())), v6_header),
        (v2(0x20, 0x00, &[]), Header::Local),
        (v2(0x20, 0x11, &tlvs(&V4)), Header::Local),
        (v2(0x20, 0x00, &[7; 100]), Header::Local),
        (v2(0x21, 0x00, &[]), Header::Local),
        (v2(0x21, 0x00, &[7; 4080]), Header::Local),
    ]
}

#[test]
fn every_valid_form_is_read_and_what_follows_is_left() {
    for (bytes, header) in valid() {
        let (read, rest) = block_on(read_all(&[&bytes, HELLO].concat()));
        assert_eq!(read.unwrap(), header, "{}", bytes.escape_ascii());
        assert_eq!(rest, HELLO, "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_header_that_is_cut_anywhere_is_refused() {
    for (bytes, _) in valid() {
        for cut in 0..bytes.len() {
            let (read, _) = block_on(read_all(&bytes[..cut]));
            let reject = read.unwrap_err();
            assert_eq!(reject.reason, Reason::ProxyHeaderInvalid);
            assert_eq!(&*reject.detail, "closed before its end", "{} at {cut}", bytes.escape_ascii());
        }
    }
}

#[tokio::test]
async fn a_header_that_arrives_byte_by_byte_is_read() {
    use tokio::io::AsyncWriteExt as _;
    for (bytes, header) in valid().into_iter().filter(|(bytes, _)| bytes.len() < 200) {
        let (mut here, mut there) = tokio::io::duplex(1);
        let sent = [&bytes, HELLO].concat();
        let writer = tokio::spawn(async move { here.write_all(&sent).await });
        assert_eq!(read(&mut there).await.unwrap(), header);
        let mut rest = vec![0; HELLO.len()];
        there.read_exact(&mut rest).await.unwrap();
        assert_eq!(rest, HELLO);
        writer.await.unwrap().unwrap();
    }
}

#[test]
fn what_is_not_a_header_is_refused() {
    let lines: &[&str] = &[
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "proxy TCP4 192.0.2.1 198.51.100.1 1 2\r\n",
        "PROXY tcp4 192.0.2.1 198.51.100.1 1 2\r\n",
        "PROXY  TCP4 192.0.2.1 198.51.100.1 1 2\r\n",
        "PROXY TCP4  192.0.2.1 198.51.100.1 1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 1 2 \r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 1 2 3\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 1\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 1 65536\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 -1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 +1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 01 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 1 0x2\r\n",
        "PROXY TCP4 192.0.2.01 198.51.100.1 1 2\r\n",
        "PROXY TCP4 192.0.513 198.51.100.1 1 2\r\n",
        "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
        "PROXY TCP6 192.0.2.1 198.51.100.1 1 2\r\n",
        "PROXY TCP6 fe80::1%eth0 2001:db8::2 1 2\r\n",
        "PROXY TCP6 [2001:db8::1] 2001:db8::2 1 2\r\n",
        "PROXY UDP4 192.0.2.1 198.51.100.1 1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 1 2\n\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 1 2 \n\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 1 2\rX\r\n",
        "PROXY TCP4\r192.0.2.1\r198.51.100.1\r1\r2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 1 2\r\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 1 2\0\r\n",
        "PROXY TCP4 192.0.2.\u{661} 198.51.100.1 1 2\r\n",
    ];
    for line in lines {
        let reject = block_on(read_all(line.as_bytes())).0.expect_err(line);
        assert_eq!(reject.reason, Reason::ProxyHeaderInvalid, "{line:?}");
        assert!(!reject.detail.is_empty() && !reject.detail.contains(char::is_control), "{:?}", reject.detail);
    }
}

#[test]
fn version_2_is_about_tcp_or_nothing() {
    let unix = [0; 216];
    for (bytes, why) in [
        (v2(0x11, 0x11, &V4), "version 1"),
        (v2(0x31, 0x11, &V4), "version 3"),
        (v2(0x22, 0x11, &V4), "an unknown command"),
        (v2(0x21, 0x10, &V4), "no protocol"),
        (v2(0x21, 0x12, &V4), "UDP"),
        (v2(0x21, 0x13, &V4), "an unknown protocol"),
        (v2(0x21, 0x22, &v6()), "UDP over IPv6"),
        (v2(0x21, 0x31, &unix), "a UNIX stream"),
        (v2(0x21, 0x32, &unix), "UNIX datagrams"),
        (v2(0x21, 0x41, &unix), "an unknown family"),
        (v2(0x21, 0x11, &V4[..11]), "too short for its family"),
        (v2(0x21, 0x21, &V4), "IPv4 addresses as IPv6"),
        (v2(0x21, 0x11, &[&V4[..], &[4, 0]].concat()), "half a field"),
        (v2(0x21, 0x11, &[&V4[..], &[4, 0, 2, 0]].concat()), "a field longer than the header"),
    ] {
        let (read, _) = block_on(read_all(&[&bytes, HELLO].concat()));
        assert_eq!(read.map_err(|reject| reject.reason), Err(Reason::ProxyHeaderInvalid), "{why}");
    }
}

#[test]
fn bytes_after_a_line_are_never_swallowed() {
    assert!(parse_v1(b"PROXY UNKNOWN\r\n").is_ok());
    assert!(parse_v1(b"PROXY UNKNOWN\r\n\x16\r\n").is_err());
}

#[test]
fn a_header_that_is_too_long_is_refused_before_it_is_read() {
    let (read, rest) = block_on(read_all(&[b"PROXY UNKNOWN ".as_slice(), &[b'x'; 1_000]].concat()));
    assert_eq!(&*read.unwrap_err().detail, "v1: longer than 107 bytes");
    assert!(rest.len() >= 1_014 - V1_MOST);

    let (read, rest) = block_on(read_all(&v2(0x21, 0x11, &[0; 4_081])));
    assert_eq!(&*read.unwrap_err().detail, "v2: longer than 4096 bytes");
    assert_eq!(rest.len(), 4_081);
}

#[test]
fn the_longest_line_is_read_and_one_byte_more_is_not() {
    let line = |filler: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(filler)).into_bytes();
    assert_eq!(block_on(read_all(&line(91))).0.unwrap(), Header::Local);
    assert!(block_on(read_all(&line(92))).0.is_err());
}

#[test]
fn a_peer_is_listed_by_its_network_in_either_spelling() {
    let listed: Vec<IpNet> = ["10.0.0.0/8", "2001:db8::/32"].map(|net| net.parse().unwrap()).into();
    for (peer, expected) in [
        ("10.1.2.3", true),
        ("::ffff:10.1.2.3", true),
        ("2001:db8::1", true),
        ("11.0.0.1", false),
        ("::ffff:11.0.0.1", false),
        ("::10.1.2.3", false),
        ("2001:db9::1", false),
    ] {
        assert_eq!(is_from(peer.parse().unwrap(), &listed), expected, "{peer}");
    }
    assert!(!is_from("10.1.2.3".parse().unwrap(), &[]));
    assert!(!is_from("::ffff:10.1.2.3".parse().unwrap(), &["::/0".parse().unwrap()]));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _either = block_on(read_all(&bytes));
        let _either = parse_v1(&bytes);
        let _either = parse_v2(&bytes);
    }

    #[test]
    fn no_bytes_after_a_good_start_make_it_panic(
        start in prop::sample::select(valid()), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut bytes = start.0;
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let (read, rest) = block_on(read_all(&[&bytes, HELLO].concat()));
        // Whatever it became: if it is taken, then it ended where it says, and the rest is untouched.
        if read.is_ok() {
            prop_assert!(HELLO.ends_with(&rest) || rest.ends_with(HELLO));
        }
    }

    #[test]
    fn no_text_makes_the_line_parser_panic(text in "PROXY (TCP4|TCP6|UNKNOWN)[ \\r]?[0-9a-f:. +\\r\\n\u{e9}]{0,90}\r\n") {
        let _either = block_on(read_all(text.as_bytes()));
        let _either = parse_v1(text.as_bytes());
    }

    #[test]
    fn both_versions_carry_any_addresses(source in any::<SocketAddr>(), destination in any::<SocketAddr>()) {
        prop_assume!(source.is_ipv4() == destination.is_ipv4());
        let strip = |address: SocketAddr| SocketAddr::new(address.ip(), address.port());
        let expected = Header::Forwarded { source: strip(source), destination: strip(destination) };
        let line = v1::Addresses::from((source, destination)).to_string();
        prop_assert_eq!(block_on(read_all(line.as_bytes())).0.unwrap(), expected);
        let binary = v2::Builder::with_addresses(0x21, v2::Protocol::Stream, (source, destination)).build().unwrap();
        prop_assert_eq!(block_on(read_all(&binary)).0.unwrap(), expected);
    }
}
