//! What a client may cost over HTTP/2: bounds on frames, on streams and on heads.

use crate::harness::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, block, frame, get, headers, post,
};
use crate::harness::{Backend, Gate, ROUTE, Recorder, Talk, World};

fn gate(world: &World, backend: std::net::SocketAddr, top: &str) -> Gate {
    Gate::start(world, &world.config_with(top, &format!("servers = [\"http://{backend}\"]"), ROUTE))
}

/// Sends `flood` until the gate closes, and finds the reason in its log.
async fn flood(bound: &str, first: Vec<u8>, mut flood: impl FnMut(u32) -> Vec<u8>, reason: &str) {
    let world = World::new();
    let recorder = Recorder::answering(b"").await;
    let gate = gate(&world, recorder.address, &format!("[http2]\n{bound}\n"));
    let mut frames = Frames::good(&world, &gate).await;
    frames.write(&first).await;
    for at in 0..5000 {
        if !frames.write(&flood(at)).await {
            break;
        }
    }
    frames.rest().await;
    let address = gate.address.to_string();
    let line = gate.logged(|line| line.contains("connection refused") && line.contains(&address)).await;
    assert!(line.contains(&format!("\"reason\":\"{reason}\"")) && line.contains("CN=good"), "{line}");
    assert_eq!(gate.metric(&format!("portcullis_rejects_total{{reason=\"{reason}\"}}")).await, 1.0);
    // The others do not notice.
    assert_eq!(Talk::good(&world, &gate, "h2").await.get("//").await.status, 400);
}

#[tokio::test]
async fn a_flood_of_resets_cuts_the_connection() {
    let pair = |at: u32| {
        let stream = at * 2 + 1;
        [headers(stream, END_STREAM, &get("/")), frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
    };
    flood("resets = 20", Vec::new(), pair, "http2_resets").await;
}

#[tokio::test]
async fn a_flood_of_continuations_cuts_the_connection() {
    let first = frame(HEADERS, END_STREAM, 1, &block(&get("/")));
    flood("continuations = 5", first, |_| frame(CONTINUATION, 0, 1, b""), "http2_continuations").await;
}

#[tokio::test]
async fn a_flood_of_settings_cuts_the_connection() {
    flood("settings = 10", Vec::new(), |_| frame(SETTINGS, 0, 0, &[]), "http2_settings").await;
}

#[tokio::test]
async fn a_flood_of_pings_cuts_the_connection() {
    flood("pings = 10", Vec::new(), |_| frame(PING, 0, 0, &[0; 8]), "http2_pings").await;
}

#[tokio::test]
async fn a_flood_of_frames_that_say_nothing_cuts_the_connection() {
    let open = || headers(1, 0, &post("/"));
    let priority = |_| frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 1]);
    flood("control_frames = 100", open(), priority, "http2_control_frames").await;
    flood("control_frames = 100", open(), |_| frame(DATA, 0, 1, b""), "http2_control_frames").await;
    let update = |_| frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes());
    flood("control_frames = 100", open(), update, "http2_control_frames").await;
    flood("control_frames = 100", open(), |_| frame(0xfa, 0, 0, b"x"), "http2_control_frames").await;
}

#[tokio::test]
async fn a_client_that_makes_the_gate_reset_its_streams_is_cut_off() {
    // MadeYouReset: each stream gets a request going and then breaks a rule, so that the reset is ours.
    let breakers: [fn(u32) -> Vec<u8>; 2] = [
        |stream| frame(WINDOW_UPDATE, 0, stream, &0_u32.to_be_bytes()),
        |stream| frame(WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff]).repeat(2),
    ];
    for breaker in breakers {
        let world = World::new();
        let recorder = Recorder::answering(b"").await;
        let gate = gate(&world, recorder.address, "[http2]\nresets = 20\n");
        let mut frames = Frames::good(&world, &gate).await;
        for at in 0..1000 {
            let stream = 2 * at + 1;
            if !frames.write(&[headers(stream, 0, &post("/")), breaker(stream)].concat()).await {
                break;
            }
        }
        let resets = frames.rest().await.iter().filter(|frame| frame.kind == RST_STREAM).count();
        assert!(resets <= 25, "{resets}");
        let address = gate.address.to_string();
        let line = gate.logged(|line| line.contains("connection refused") && line.contains(&address)).await;
        assert!(line.contains("\"reason\":\"http2_"), "{line}");
    }
}

#[tokio::test]
async fn no_more_streams_are_open_than_the_gate_permits() {
    let world = World::new();
    let recorder = Recorder::answering(b"").await;
    let gate = gate(&world, recorder.address, "[http2]\nstreams = 4\n");
    let mut frames = Frames::good(&world, &gate).await;
    let settings = frames.wait_for(&[SETTINGS]).await.unwrap();
    let most = settings.payload.chunks(6).find(|setting| setting[..2] == [0, 3]).unwrap();
    assert_eq!(most[2..], 4_u32.to_be_bytes());
    for stream in [1, 3, 5, 7, 9] {
        frames.write(&headers(stream, END_STREAM, &get("/"))).await;
    }
    let refused = frames.wait_for(&[RST_STREAM, GOAWAY, HEADERS]).await.unwrap();
    // REFUSED_STREAM (RFC 9113 §7): it may be sent again.
    assert_eq!((refused.kind, refused.stream, refused.error()), (RST_STREAM, 9, 7));
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_once_decoded() {
    let world = World::new();
    let recorder = Recorder::start().await;
    let top = "[http]\nheader_bytes = \"8KiB\"\nheader_count = 30\nuri_bytes = \"1KiB\"\n";
    let gate = gate(&world, recorder.address, top);
    let large = "y".repeat(9000);
    let long = format!("/{}", "y".repeat(1024));
    let names: Vec<String> = (0..31).map(|at| format!("x{at}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), b"y".as_slice())).collect();
    for (fields, status) in [
        ([get("/"), vec![("x", large.as_bytes())]].concat(), "431"),
        ([get("/"), many].concat(), "431"),
        (get(&long), "414"),
    ] {
        let mut frames = Frames::good(&world, &gate).await;
        frames.write(&headers(1, END_STREAM, &fields)).await;
        let answer = frames.wait_for(&[HEADERS, RST_STREAM, GOAWAY]).await.unwrap();
        assert_eq!((answer.kind, answer.status().as_str()), (HEADERS, status));
    }
    // A field that is said once and referred to a thousand times (RFC 7541 §6.1) counts as often.
    let mut bomb = block(&get("/"));
    bomb.push(0x40);
    bomb.extend_from_slice(&block(&[("x", &[b'y'; 1000])])[1..]);
    bomb.extend_from_slice(&[0x80 | 62; 10_000]);
    let mut frames = Frames::good(&world, &gate).await;
    frames.write(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb)).await;
    let answer = frames.wait_for(&[HEADERS, RST_STREAM, GOAWAY]).await.unwrap();
    assert!(answer.kind != HEADERS || answer.status() == "431", "{answer:?}");
    assert!(recorder.seen().is_empty());
}

#[tokio::test]
async fn what_is_no_http2_is_cut_off_with_a_reason() {
    let world = World::new();
    let recorder = Recorder::start().await;
    for bytes in [
        frame(DATA, 0, 0, b"x"),
        frame(HEADERS, END_HEADERS, 2, &block(&get("/"))),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff; 20]),
        frame(SETTINGS, 0, 0, b"odd"),
        frame(PING, 0, 0, b"short"),
        frame(CONTINUATION, END_HEADERS, 1, b""),
        frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
        vec![0xff; 9],
        b"GET / HTTP/1.1\r\nhost: api.test\r\n\r\n".to_vec(),
    ] {
        let gate = gate(&world, recorder.address, "");
        let mut frames = Frames::good(&world, &gate).await;
        frames.write(&bytes).await;
        let last = frames.wait_for(&[GOAWAY]).await;
        assert!(last.is_some_and(|last| last.error() != 0), "{bytes:?}");
        frames.rest().await;
        let address = gate.address.to_string();
        // Of this reason: another test's gate may have had this port before.
        let invalid = "\"reason\":\"http2_invalid\"";
        gate.logged(|line| line.contains("connection refused") && line.contains(&address) && line.contains(invalid))
            .await;
    }
    assert!(recorder.seen().is_empty());
}

#[tokio::test]
async fn the_last_request_of_a_connection_is_followed_by_goaway() {
    let world = World::new();
    let backend = Backend::echo().await;
    let gate = gate(&world, backend.address, "[connection]\nmax_requests = 2\n");
    let mut frames = Frames::good(&world, &gate).await;
    for stream in [1, 3] {
        frames.write(&headers(stream, END_STREAM, &get("/"))).await;
        loop {
            let frame = frames.wait_for(&[DATA, GOAWAY]).await.unwrap();
            if frame.kind == GOAWAY {
                assert_eq!((stream, frame.error()), (3, 0));
            } else if frame.flags & END_STREAM != 0 {
                break;
            }
        }
    }
    let rest = frames.rest().await;
    assert!(rest.iter().all(|frame| frame.kind != RST_STREAM), "{rest:?}");
}

#[tokio::test]
async fn a_client_that_does_not_heed_goaway_is_cut_off() {
    let world = World::new();
    let backend = Backend::echo().await;
    let gate = gate(&world, backend.address, "[connection]\nmax_requests = 5\n[http2]\nstreams = 4\n");
    let mut frames = Frames::good(&world, &gate).await;
    let mut sent = 0;
    // It answers no PING, so the gate cannot know that its GOAWAY has arrived.
    'client: while sent < 1000 {
        frames.write(&headers(2 * sent + 1, END_STREAM, &get("/"))).await;
        sent += 1;
        loop {
            match frames.silent_next().await {
                None => break 'client,
                Some(frame) if frame.kind == DATA && frame.flags & END_STREAM != 0 => break,
                Some(_) => {}
            }
        }
    }
    assert!((5..=15).contains(&sent), "{sent}");
}

#[tokio::test]
async fn a_silent_client_is_asked_to_go_and_then_cut_off() {
    let world = World::new();
    let backend = Backend::echo().await;
    let gate = gate(&world, backend.address, "[connection]\nidle_timeout = \"1s\"\n");
    let mut frames = Frames::good(&world, &gate).await;
    let mut kinds = Vec::new();
    while let Some(frame) = frames.silent_next().await {
        kinds.push(frame.kind);
    }
    assert!(kinds.contains(&GOAWAY), "{kinds:?}");
}
