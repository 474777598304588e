use proptest::prelude::*;

use super::testing::{Made, frame};
use super::*;

/// JA4 and JA4_r as FoxIO publishes them for its captures (`python/test/testdata` of its repository, November 2026),
/// and for the example of the specification: one of each client there. In one of them the first protocol is the bytes
/// `ba ad`: `bd` by the specification, although FoxIO's own programs still say `99`.
const PUBLISHED: [(&str, &str); 14] = [
    (
        "t10d230100_6a57a6f57151_000000000000",
        "t10d230100_0003,0004,0005,0006,0008,0009,000a,0011,0012,0013,0014,0015,0016,002f,0032,0033,0035,0038,0039,0096,0099,009a,00ff_",
    ),
    (
        "t12d190800_d83cc789557e_7af1ed941c26",
        "t12d190800_000a,002f,0035,003c,003d,009c,009d,c009,c00a,c013,c014,c023,c024,c027,c028,c02b,c02c,c02f,c030_0005,000a,000b,000d,0017,0023,ff01_0804,0805,0806,0401,0501,0201,0403,0503,0203,0202,0601,0603",
    ),
    (
        "t12d1909h2_d83cc789557e_7af1ed941c26",
        "t12d1909h2_000a,002f,0035,003c,003d,009c,009d,c009,c00a,c013,c014,c023,c024,c027,c028,c02b,c02c,c02f,c030_0005,000a,000b,000d,0017,0023,ff01_0804,0805,0806,0401,0501,0201,0403,0503,0203,0202,0601,0603",
    ),
    (
        "t12d4605h2_85626a9a5f7f_aaf95bb78ec9",
        "t12d4605h2_0004,0005,000a,0016,002f,0033,0035,0039,003c,003d,0041,0045,0067,006b,0081,0084,0088,009c,009d,009e,009f,00ba,00be,00c0,00c4,00ff,c007,c008,c009,c00a,c011,c012,c013,c014,c023,c024,c027,c028,c02b,c02c,c02f,c030,cca8,cca9,ccaa,ff85_000a,000b,000d_0601,0603,efef,0501,0503,0401,0403,eeee,eded,0301,0303,0201,0203",
    ),
    (
        "t13d151400_8daaf6152771_de4a06bb82e3",
        "t13d151400_002f,0035,009c,009d,1301,1302,1303,c013,c014,c02b,c02c,c02f,c030,cca8,cca9_0005,000a,000b,000d,0012,0015,0017,001b,0023,002b,002d,0033,ff01_0403,0804,0401,0503,0805,0501,0806,0601",
    ),
    (
        "t13d1515h2_8daaf6152771_f37e75b10bcc",
        "t13d1515h2_002f,0035,009c,009d,1301,1302,1303,c013,c014,c02b,c02c,c02f,c030,cca8,cca9_0005,000a,000b,000d,0012,0017,001b,0023,002b,002d,0033,4469,ff01_0403,0804,0401,0503,0805,0501,0806,0601",
    ),
    (
        "t13d1516bd_8daaf6152771_e5627efa2ab1",
        "t13d1516bd_002f,0035,009c,009d,1301,1302,1303,c013,c014,c02b,c02c,c02f,c030,cca8,cca9_0005,000a,000b,000d,0012,0015,0017,001b,0023,002b,002d,0033,4469,ff01_0403,0804,0401,0503,0805,0501,0806,0601",
    ),
    (
        "t13d1516h1_8daaf6152771_e5627efa2ab1",
        "t13d1516h1_002f,0035,009c,009d,1301,1302,1303,c013,c014,c02b,c02c,c02f,c030,cca8,cca9_0005,000a,000b,000d,0012,0015,0017,001b,0023,002b,002d,0033,4469,ff01_0403,0804,0401,0503,0805,0501,0806,0601",
    ),
    (
        "t13d1516h2_8daaf6152771_9b887d9acb53",
        "t13d1516h2_002f,0035,009c,009d,1301,1302,1303,c013,c014,c02b,c02c,c02f,c030,cca8,cca9_0005,000a,000b,000d,0012,0017,001b,0023,0029,002b,002d,0033,4469,ff01_0403,0804,0401,0503,0805,0501,0806,0601",
    ),
    (
        "t13d1516h2_8daaf6152771_e5627efa2ab1",
        "t13d1516h2_002f,0035,009c,009d,1301,1302,1303,c013,c014,c02b,c02c,c02f,c030,cca8,cca9_0005,000a,000b,000d,0012,0015,0017,001b,0023,002b,002d,0033,4469,ff01_0403,0804,0401,0503,0805,0501,0806,0601",
    ),
    (
        "t13d1517h1_8daaf6152771_6cdcb247c39b",
        "t13d1517h1_002f,0035,009c,009d,1301,1302,1303,c013,c014,c02b,c02c,c02f,c030,cca8,cca9_0005,000a,000b,000d,0012,0015,0017,001b,0023,0029,002b,002d,0033,4469,ff01_0403,0804,0401,0503,0805,0501,0806,0601",
    ),
    (
        "t13d1615h2_46e7e9700bed_45f260be83e2",
        "t13d1615h2_000a,002f,0035,009c,009d,1301,1302,1303,c013,c014,c02b,c02c,c02f,c030,cca8,cca9_0005,000a,000b,000d,0012,0015,0017,001b,0023,002b,002d,0033,ff01_0403,0804,0401,0503,0805,0501,0806,0601,0201",
    ),
    (
        "t13d1715h2_5b57614c22b0_3d5424432f57",
        "t13d1715h2_002f,0035,009c,009d,1301,1302,1303,c009,c00a,c013,c014,c02b,c02c,c02f,c030,cca8,cca9_0005,000a,000b,000d,0015,0017,001c,0022,0023,002b,002d,0033,ff01_0403,0503,0603,0804,0805,0806,0401,0501,0601,0203,0201",
    ),
    (
        "t13d2613h2_2802a3db6c62_845d286b0d67",
        "t13d2613h2_000a,002f,0035,003c,003d,009c,009d,1301,1302,1303,c008,c009,c00a,c012,c013,c014,c023,c024,c027,c028,c02b,c02c,c02f,c030,cca8,cca9_0005,000a,000b,000d,0012,0015,0017,002b,002d,0033,ff01_0403,0804,0401,0503,0203,0805,0805,0501,0806,0601,0201",
    ),
];

fn ja4(records: &[u8]) -> String {
    TlsPrint::of(records).unwrap().ja4.to_string()
}

#[test]
fn published_clients_have_their_published_fingerprints() {
    for (expected, raw) in PUBLISHED {
        let records = Made::of_raw(raw).records(16 * 1024);
        assert_eq!(ja4(&records), expected);
        assert_eq!(ja4_raw(&records).unwrap(), raw);
        assert_eq!(expected.parse::<Ja4>().unwrap(), TlsPrint::of(&records).unwrap().ja4);
    }
}

#[test]
fn neither_grease_nor_the_cuts_of_records_nor_what_follows_change_a_fingerprint() {
    for (expected, raw) in PUBLISHED {
        let hello = Made::of_raw(raw).greased();
        let whole = hello.records(16 * 1024);
        for records in
            [whole.clone(), hello.records(1), hello.records(3), hello.records(100), [&whole[..], b"more"].concat()]
        {
            assert_eq!(ja4(&records), expected);
        }
    }
}

#[test]
fn a_resumed_and_a_padded_handshake_are_of_the_same_stack() {
    // Chrome's: plain, resumed, padded, and resumed and padded.
    let stable = |text: &str| {
        let (_, raw) = PUBLISHED.iter().find(|(ja4, _)| *ja4 == text).unwrap();
        TlsPrint::of(&Made::of_raw(raw).records(9999)).unwrap().stable.to_string()
    };
    let plain = "t13d1515h2_8daaf6152771_f37e75b10bcc";
    assert_eq!(stable(plain), plain);
    assert_eq!(stable("t13d1516h2_8daaf6152771_9b887d9acb53"), plain);
    assert_eq!(stable("t13d1516h2_8daaf6152771_e5627efa2ab1"), plain);
    // The same over HTTP/1.1.
    assert_eq!(stable("t13d1517h1_8daaf6152771_6cdcb247c39b"), plain.replace("h2", "h1"));
    let pattern: Ja4Pattern = plain.parse().unwrap();
    let (_, resumed) = PUBLISHED[8];
    assert!(pattern.matches(&TlsPrint::of(&Made::of_raw(resumed).records(9999)).unwrap()));
}

#[test]
fn the_first_part_says_what_the_specification_says_it_says() {
    let alpn = |protocol: &[u8]| {
        let entry = [&[u8::try_from(protocol.len()).unwrap()], protocol].concat();
        let list = [&u16::try_from(entry.len()).unwrap().to_be_bytes(), &entry[..]].concat();
        let made = Made { version: 0x0303, ciphers: vec![0x1301], extensions: vec![(0x0010, list)] };
        ja4(&made.records(9999)).chars().skip(8).take(2).collect::<String>()
    };
    // The table of the specification.
    for (protocol, expected) in [
        (&b"h2"[..], "h2"),
        (b"http/1.1", "h1"),
        (b"", "00"),
        (b"x", "xx"),
        (&[0xab], "ab"),
        (&[0x20], "20"),
        (&[0xab, 0xcd], "ad"),
        (&[0x20, 0x61], "21"),
        (&[0x30, 0xab], "3b"),
        (&[0x61, 0x20], "60"),
        (&[0x30, 0x31, 0xab, 0xcd], "3d"),
        (&[0x30, 0xab, 0xcd, 0x31], "01"),
    ] {
        assert_eq!(alpn(protocol), expected, "{protocol:?}");
    }
    for (version, expected) in [
        (0x0304, "13"),
        (0x0303, "12"),
        (0x0302, "11"),
        (0x0301, "10"),
        (0x0300, "s3"),
        (0x0002, "s2"),
        (0xfeff, "d1"),
        (0xfefd, "d2"),
        (0xfefc, "d3"),
        (0x0305, "00"),
    ] {
        let made = Made { version, ciphers: vec![], extensions: vec![] };
        assert_eq!(ja4(&made.records(9999)), format!("t{expected}i000000_000000000000_000000000000"));
    }
    let many = Made {
        version: 0x0303,
        ciphers: (0..120).collect(),
        extensions: (100..230).map(|number| (number, vec![])).collect(),
    };
    assert!(ja4(&many.records(9999)).starts_with("t12i999900_"));
}

#[test]
fn what_is_no_whole_client_hello_has_no_fingerprint() {
    let whole = Made::of_raw(PUBLISHED[9].1).records(200);
    for cut in 0..whole.len() {
        assert_eq!(TlsPrint::of(&whole[..cut]), None, "{cut}");
    }
    assert_eq!(TlsPrint::of(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"), None);
    assert_eq!(ja4_raw(b""), None);
}

/// HPACK: `:method GET`, `:authority x` (literal), `:scheme https`, `:path /`, then `user-agent`.
const CHROME: &[u8] = &[0x82, 0x41, 1, b'x', 0x87, 0x84, 0x7a, 1, b'y'];

fn http2(frames: &[Vec<u8>], cut: usize) -> Option<Box<str>> {
    let mut print = Http2Print::default();
    for frame in frames {
        let (head, payload) = frame.split_at(9);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut known = print.frame(head[3], head[4], stream, payload.len());
        for piece in payload.chunks(cut) {
            assert!(known.is_none());
            known = print.payload(piece);
        }
        if known.is_some() {
            return known;
        }
    }
    None
}

fn settings(pairs: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> =
        pairs.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
    frame(4, 0, 0, &payload)
}

fn window(by: u32) -> Vec<u8> {
    frame(8, 0, 0, &by.to_be_bytes())
}

#[test]
fn known_http2_clients_have_their_known_fingerprints() {
    let chrome = [
        settings(&[(1, 65_536), (2, 0), (4, 6_291_456), (6, 262_144)]),
        window(15_663_105),
        frame(1, 0x25, 1, &[&[0x80, 0, 0, 0, 255], CHROME].concat()),
    ];
    let firefox: Vec<_> = [
        vec![settings(&[(1, 65_536), (4, 131_072), (5, 16_384)]), window(12_517_377)],
        [(3, 0, 200), (5, 0, 100), (7, 0, 0), (9, 7, 0), (11, 3, 0), (13, 0, 240)]
            .map(|(stream, on, weight): (u32, u32, u8)| {
                frame(2, 0, stream, &[&on.to_be_bytes()[..], &[weight]].concat())
            })
            .into(),
        // Padded, and in two parts: `:method`, `:path`, `:authority`, `:scheme`.
        vec![frame(1, 0x08, 15, &[2, 0x82, 0x04, 2, b'/', 7, 7]), frame(9, 0x04, 15, &[b'a', 0x41, 1, b'x', 0x87])],
    ]
    .concat();
    let curl = [settings(&[(3, 100), (4, 10_485_760), (2, 0)]), frame(1, 4, 1, &[0x82, 0x84, 0x87, 0x41, 1, b'x'])];
    for (frames, expected) in [
        (&chrome[..], "1:65536;2:0;4:6291456;6:262144|15663105|0|m,a,s,p"),
        (&firefox, "1:65536;4:131072;5:16384|12517377|3:0:0:201,5:0:0:101,7:0:0:1,9:0:7:1,11:0:3:1,13:0:0:241|m,p,a,s"),
        (&curl, "3:100;4:10485760;2:0|00|0|m,p,s,a"),
    ] {
        for cut in [1, 2, 7, 1000] {
            assert_eq!(http2(frames, cut).as_deref(), Some(expected), "{cut}");
        }
    }
}

#[test]
fn an_http2_fingerprint_takes_what_comes_and_stays_short() {
    let head = frame(1, 4, 1, CHROME);
    let many: Vec<_> = (1..200).map(|id| (id, u32::MAX)).collect();
    let priorities = (0..100).map(|_| frame(2, 0, u32::MAX >> 1, &[255; 5]));
    let crowded: Vec<_> = std::iter::once(settings(&many)).chain(priorities).chain([head.clone()]).collect();
    let text = http2(&crowded, 5).unwrap();
    assert!(text.len() < 1100 && text.contains(";+|00|") && text.ends_with(",+|m,a,s,p"), "{text}");
    for (frames, expected) in [
        // GREASE among the settings, an acknowledgement, and a second SETTINGS.
        (vec![settings(&[(0x1a2a, 9), (2, 0)]), frame(4, 1, 0, &[]), settings(&[(1, 1)])], "2:0|00|0|m,a,s,p"),
        (vec![], "|00|0|m,a,s,p"),
        // Windows of streams, and the connection's second.
        (vec![frame(8, 0, 1, &[0, 0, 0, 1]), window(5), window(6)], "|5|0|m,a,s,p"),
        (vec![frame(0xbb, 0, 0, &[1, 2, 3])], "|00|0|m,a,s,p"),
    ] {
        let frames = [frames, vec![head.clone()]].concat();
        assert_eq!(http2(&frames, 3).as_deref(), Some(expected));
    }
}

#[test]
fn the_order_of_fields_is_read_past_values_of_any_length_and_no_further_than_it_is_sure() {
    let long =
        [&[0x82, 0x04, 0x7f, 0x80 | 0x49, 0x0f][..], &[b'p'; 127 + 0x49 + (0x0f << 7)], &[0x41, 0, 0x87]].concat();
    for (block, expected) in [
        (&long[..], "m,p,a,s"),
        // The table's size first.
        (&[0x3f, 0xe1, 0x1f, 0x82, 0x87][..], "m,s"),
        (&[0x20, 0x82], "m"),
        // A name that is spelt out, and one from the dynamic table.
        (&[0x82, 0x40, 5, b':', b'p', b'a', b't', b'h', 1, b'/'], "m"),
        (&[0x82, 0xbe, 0x84], "m"),
        (&[0x40, 1, b'x', 1, b'y'], "?"),
        (&[0x82, 0x83, 0x84, 0x85, 0x86], "m,m,p,p"),
        (&[0x82, 0x41, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x87], "m,a"),
    ] {
        for cut in [1, 1000] {
            let text = http2(&[frame(1, 4, 1, block)], cut).unwrap();
            assert_eq!(text.rsplit('|').next(), Some(expected), "{block:x?}");
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_fingerprint_panic_and_every_one_reads_as_it_prints(
        bytes in prop::collection::vec(any::<u8>(), 0..400), at in 0usize..400, vector in 0usize..14, cut in 1usize..300,
    ) {
        let _ = TlsPrint::of(&bytes);
        // A real one with a wrong byte.
        let mut records = Made::of_raw(PUBLISHED[vector].1).records(cut);
        let at = at % records.len();
        records[at] = bytes.first().copied().unwrap_or_default();
        if let Some(print) = TlsPrint::of(&records) {
            for ja4 in [print.ja4, print.stable] {
                prop_assert_eq!(ja4.to_string().parse::<Ja4>(), Ok(ja4));
                prop_assert!(ja4.as_str().parse::<Ja4Pattern>().unwrap().matches(&print));
            }
        }
        prop_assert_eq!(TlsPrint::of(&records).is_some(), ja4_raw(&records).is_some());
    }

    #[test]
    fn the_order_of_what_a_client_offers_does_not_matter(
        vector in 0usize..14, by in 0usize..40,
    ) {
        let (expected, raw) = PUBLISHED[vector];
        let mut hello = Made::of_raw(raw);
        let (ciphers, extensions) = (hello.ciphers.len(), hello.extensions.len());
        hello.ciphers.rotate_left(by % ciphers);
        hello.extensions.rotate_left(by % extensions.max(1));
        prop_assert_eq!(ja4(&hello.records(99)), expected);
    }

    #[test]
    fn the_cuts_of_frames_do_not_change_an_http2_fingerprint(
        frames in prop::collection::vec((0u8..11, any::<u8>(), 0u32..5, prop::collection::vec(any::<u8>(), 0..60)), 0..12),
        cut in 1usize..20,
    ) {
        let frames: Vec<_> =
            frames.iter().map(|(kind, flags, stream, payload)| frame(*kind, *flags, *stream, payload)).collect();
        let whole = http2(&frames, 1000);
        prop_assert!(whole.as_ref().is_none_or(|text| text.len() < 1100 && text.bytes().all(|byte| byte.is_ascii_graphic())));
        prop_assert_eq!(whole, http2(&frames, cut));
    }
}
