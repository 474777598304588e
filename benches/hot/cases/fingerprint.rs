//! What telling a client's software costs: once per handshake, and once per HTTP/2 connection.

use std::hint::black_box;

use portcullis::fingerprint::{Http2Print, Ja4Pattern, TlsPrint, ja4_raw};

use super::{Case, Work, case};

pub fn cases() -> Vec<Case> {
    let ja4 = |kind: &str, records: fn() -> Vec<u8>| {
        case(format!("fingerprint/ja4/{kind}"), move || {
            let records = records();
            Box::new(move || assert!(TlsPrint::of(black_box(&records)).is_some()))
        })
    };
    vec![
        ja4("usual", || hello(&suites(), &extensions())),
        ja4("resumed", || hello(&suites(), &[&extensions()[..], &[0x29]].concat())),
        // The most that the default `client_hello_bytes` lets in, in the worst order.
        ja4("15_kib", || hello(&(0..7500).rev().map(|n| n * 7).collect::<Vec<u16>>(), &extensions())),
        case("fingerprint/ja4_raw/usual", || {
            let usual = hello(&suites(), &extensions());
            Box::new(move || {
                black_box(ja4_raw(black_box(&usual)));
            })
        }),
        case("fingerprint/allow/100", || {
            let print = TlsPrint::of(&hello(&suites(), &extensions())).expect("a ClientHello");
            let patterns: Vec<Ja4Pattern> =
                (0..100).map(|n| format!("t13d1516h2_{n:012x}_*").parse().expect("a pattern")).collect();
            Box::new(move || {
                black_box(patterns.iter().any(|pattern| pattern.matches(black_box(&print))));
            })
        }),
        case("fingerprint/http2", http2),
    ]
}

fn http2() -> Work {
    let settings = [[0, 1, 0, 1, 0, 0], [0, 2, 0, 0, 0, 0], [0, 4, 0, 96, 0, 0], [0, 6, 0, 4, 0, 0]].concat();
    let block = [&[0x82, 0x41, 15][..], b"api.example.com", &[0x87, 0x04, 60], &[b'p'; 60], &[0x7a, 1, b'x']].concat();
    Box::new(move || {
        let mut print = Http2Print::default();
        print.frame(4, 0, 0, settings.len());
        print.payload(black_box(&settings));
        print.frame(8, 0, 0, 4);
        print.payload(&[0, 1, 2, 3]);
        print.frame(1, 5, 1, block.len());
        black_box(print.payload(black_box(&block)));
    })
}

fn suites() -> Vec<u16> {
    (0x1301..0x1310).collect()
}

fn extensions() -> Vec<u16> {
    (0x30..0x3e).chain([0x0d]).collect()
}

/// A ClientHello in one record, with what these lists need and a name.
fn hello(suites: &[u16], extensions: &[u16]) -> Vec<u8> {
    let numbers = |list: &[u16]| list.iter().flat_map(|number| number.to_be_bytes()).collect::<Vec<u8>>();
    let block = |content: &[u8]| {
        let length = u16::try_from(content.len()).expect("short").to_be_bytes();
        [&length[..], content].concat()
    };
    let content = |number: &u16| match number {
        0x0d => block(&numbers(&[0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601])),
        // A key share with ML-KEM.
        0x33 => vec![7; 1216],
        _ => vec![0; 4],
    };
    let all: Vec<u8> =
        extensions.iter().flat_map(|number| [&number.to_be_bytes()[..], &block(&content(number))].concat()).collect();
    let body = [&[3, 3][..], &[9; 32], &[0], &block(&numbers(suites)), &[1, 0], &block(&all)].concat();
    let length = u32::try_from(body.len()).expect("short").to_be_bytes();
    let message = [&[1], length.get(1..).expect("four bytes"), &body].concat();
    [&[22, 3, 1][..], &block(&message)].concat()
}
