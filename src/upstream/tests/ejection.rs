//! Servers that fail get no requests, and come back.

use super::*;

/// A port where nobody listens.
async fn closed_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    listener.local_addr().unwrap().port()
}

fn group(ports: &[u16], eject_after: u32) -> UpstreamSpec {
    let server = |port: &u16| ServerSpec { via: Via::Http1, host: "127.0.0.1".into(), port: *port };
    UpstreamSpec { servers: ports.iter().map(server).collect(), eject_after, ..spec(Via::Http1, 0) }
}

fn ejected(upstream: &Upstream) -> Vec<bool> {
    upstream.status().iter().map(|server| server.ejected).collect()
}

#[tokio::test]
async fn a_server_that_refuses_connections_is_ejected_and_comes_back() {
    let port = closed_port().await;
    let healthy = Backend::start(|_, stream| answer_all(stream, OK)).await;
    let clock = Clock::adjustable();
    let upstream = build(group(&[port, healthy.port], 3), &clock);
    for _ in 0..4 {
        get_text(&upstream, "/").await;
    }
    assert_eq!(ejected(&upstream), [false, false]);
    for _ in 0..6 {
        get_text(&upstream, "/").await;
    }
    assert_eq!(ejected(&upstream), [true, false]);

    // Its time is over, but it is still down: the probe fails, and its request is answered by the other.
    clock.advance(Duration::from_secs(11));
    for _ in 0..6 {
        get_text(&upstream, "/").await;
    }
    assert_eq!(ejected(&upstream), [true, false]);

    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_all(stream, OK));
        }
    });
    clock.advance(Duration::from_secs(11));
    get_text(&upstream, "/").await;
    assert_eq!(ejected(&upstream), [false, false]);
}

#[tokio::test]
async fn a_request_whose_server_is_down_goes_to_another_once_with_its_body() {
    let (down, also_down) = (closed_port().await, closed_port().await);
    let healthy = Backend::start(|_, mut stream| async move {
        let head = read_head(&mut stream).await;
        let mut body = [0; 4];
        stream.read_exact(&mut body).await.unwrap();
        assert!(head.contains("content-length: 4") && &body == b"once", "{head}");
        stream.write_all(OK.as_bytes()).await.unwrap();
    })
    .await;
    let upstream = build(group(&[down, healthy.port], 0), &Clock::system());
    for _ in 0..4 {
        text(send(&upstream, request("POST", "/", sized("once"))).await).await;
    }
    let upstream = build(group(&[down, also_down, down, also_down], 0), &Clock::system());
    assert_eq!(reason(send(&upstream, request("POST", "/", sized("once"))).await), Reason::UpstreamConnect);
    let in_flight: usize = upstream.status().iter().map(|server| server.in_flight).sum();
    assert_eq!(in_flight, 0);
}

#[tokio::test]
async fn an_upgrade_goes_to_another_server_too() {
    let switched = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    let healthy = Backend::start(move |_, stream| answer_all(stream, switched)).await;
    let upstream = build(group(&[closed_port().await, healthy.port], 0), &Clock::system());
    for _ in 0..2 {
        let upgrade = Request::get("/").header("connection", "upgrade").header("upgrade", "websocket");
        assert_eq!(send(&upstream, upgrade.body(RequestBody::Empty).unwrap()).await.unwrap().status(), 101);
    }
}

#[tokio::test]
async fn what_was_sent_to_a_server_is_never_sent_to_another() {
    let dying = Backend::start(|_, mut stream| async move { drop(read_head(&mut stream).await) }).await;
    let healthy = Backend::start(|_, stream| answer_all(stream, OK)).await;
    let upstream = build(group(&[dying.port, healthy.port], 0), &Clock::system());
    assert_eq!(reason(get(&upstream, "/").await), Reason::UpstreamInvalid);
    assert_eq!(healthy.connections(), 0);
}

#[tokio::test]
async fn when_all_are_ejected_one_request_a_second_is_let_through() {
    let clock = Clock::adjustable();
    let upstream = build(group(&[closed_port().await], 1), &clock);
    assert_eq!(reason(get(&upstream, "/").await), Reason::UpstreamConnect);
    for _ in 0..3 {
        let refusal = get(&upstream, "/").await.err().unwrap();
        assert_eq!(refusal.reason, Reason::UpstreamUnavailable);
        assert!(refusal.retry_after.is_some_and(|wait| wait >= Duration::from_secs(1)));
    }
    clock.advance(Duration::from_millis(1_100));
    assert_eq!(reason(get(&upstream, "/").await), Reason::UpstreamConnect);
    assert_eq!(reason(get(&upstream, "/").await), Reason::UpstreamUnavailable);
}

#[tokio::test]
async fn a_probe_that_its_client_gives_up_only_delays_the_next() {
    let backend = Backend::start(|number, mut stream| async move {
        match number {
            0 => drop(stream),
            1 => drop(stream.read_to_end(&mut Vec::new()).await),
            _ => answer_all(stream, OK).await,
        }
    })
    .await;
    let clock = Clock::adjustable();
    let upstream = build(group(&[backend.port], 1), &clock);
    assert_eq!(reason(get(&upstream, "/").await), Reason::UpstreamInvalid);
    clock.advance(Duration::from_secs(11));
    assert!(tokio::time::timeout(SHORT, get(&upstream, "/")).await.is_err());
    assert_eq!(reason(get(&upstream, "/").await), Reason::UpstreamUnavailable);
    clock.advance(Duration::from_secs(2));
    get_text(&upstream, "/").await;
    assert_eq!(ejected(&upstream), [false]);
}

#[tokio::test]
async fn no_status_ejects() {
    let bad = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
    let backend = Backend::start(move |_, stream| answer_all(stream, bad)).await;
    let upstream = build(group(&[backend.port], 1), &Clock::system());
    for _ in 0..5 {
        assert_eq!(get(&upstream, "/").await.unwrap().status(), 503);
    }
    assert_eq!(ejected(&upstream), [false]);
}

#[tokio::test]
async fn a_client_cannot_eject_a_server_by_asking_for_what_it_cannot_do() {
    let spec = UpstreamSpec { eject_after: 1, ..spec(Via::Http2, closed_port().await) };
    let upstream = build(spec, &Clock::system());
    let upgrade = Request::get("/").header("connection", "upgrade").header("upgrade", "websocket");
    let outcome = send(&upstream, upgrade.body(RequestBody::Empty).unwrap()).await;
    assert_eq!(reason(outcome), Reason::UpstreamInvalid);
    assert_eq!(ejected(&upstream), [false]);
}

#[tokio::test]
async fn an_ejection_closes_the_connections_that_were_kept() {
    let backend = Backend::start(|number, mut stream| async move {
        if number == 1 {
            read_head(&mut stream).await;
            return;
        }
        answer_all(stream, OK).await;
    })
    .await;
    let clock = Clock::adjustable();
    let upstream = build(group(&[backend.port], 1), &clock);
    let first = get(&upstream, "/").await;
    assert_eq!(reason(get(&upstream, "/").await), Reason::UpstreamInvalid);
    assert_eq!(ejected(&upstream), [true]);
    text(first).await;
    clock.advance(Duration::from_secs(11));
    get_text(&upstream, "/").await;
    assert_eq!(ejected(&upstream), [false]);
}

#[tokio::test]
async fn the_server_with_the_fewest_requests_is_next() {
    let (slow, quick) = (
        Backend::start(|_, stream| answer_all(stream, OK)).await,
        Backend::start(|_, stream| answer_all(stream, OK)).await,
    );
    let spec = UpstreamSpec { balance: Balance::LeastInFlight, ..group(&[slow.port, quick.port], 1) };
    let upstream = build(spec, &Clock::system());
    let held = get(&upstream, "/").await.unwrap();
    for _ in 0..4 {
        get_text(&upstream, "/").await;
    }
    assert_eq!((slow.connections(), quick.connections()), (1, 1));
    let in_flight: Vec<usize> = upstream.status().iter().map(|server| server.in_flight).collect();
    assert_eq!(in_flight, [1, 0]);
    drop(held);
}
