//! Upgrades.

use super::*;

fn websocket() -> Request<RequestBody> {
    let request = Request::get("/chat").header("connection", "upgrade").header("upgrade", "websocket");
    request.body(RequestBody::Empty).unwrap()
}

#[tokio::test]
async fn after_a_101_the_bytes_go_through_and_the_tunnel_counts_as_in_flight() {
    let backend = Backend::start(|_, mut stream| async move {
        let head = read_head(&mut stream).await;
        assert!(head.contains("connection: upgrade\r\n") && head.contains("upgrade: websocket\r\n"), "{head}");
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello";
        stream.write_all(answer).await.unwrap();
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await.unwrap();
    })
    .await;
    let upstream = upstream(Via::Http1, backend.port);
    let mut response = send(&upstream, websocket()).await.unwrap();
    assert_eq!(response.status(), 101);
    let mut tunnel = response.body_mut().tunnel().unwrap();
    let mut bytes = [0; 5];
    tunnel.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"hello");
    tunnel.write_all(b"there").await.unwrap();
    tunnel.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"there");
    assert_eq!(upstream.status()[0].in_flight, 1);
    drop(response);
    assert_eq!(upstream.status()[0].in_flight, 0);
}

#[tokio::test]
async fn a_refused_upgrade_is_an_ordinary_answer_on_a_connection_of_its_own() {
    let backend = Backend::start(|_, stream| answer_all(stream, OK)).await;
    let upstream = upstream(Via::Http1, backend.port);
    get_text(&upstream, "/").await;
    assert_eq!(text(send(&upstream, websocket()).await).await, "ok");
    assert_eq!(backend.connections(), 2);
    get_text(&upstream, "/").await;
    assert_eq!(backend.connections(), 2, "the connection of the upgrade is not kept");
}

#[tokio::test]
async fn an_upgrade_that_is_not_answered_is_late() {
    let backend = Backend::start(|_, mut stream| async move {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let mut spec = spec(Via::Http1, backend.port);
    spec.timeouts.response = SHORT;
    assert_eq!(reason(send(&build(spec, &Clock::system()), websocket()).await), Reason::UpstreamTimeout);
}
