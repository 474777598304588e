//! More than the gate can do: accepted work finishes, the excess is refused for its own reason.

use std::sync::Arc;

use futures_util::future::join_all;
use portcullis::reject::Reason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::arrivals::from;
use super::{PATIENCE, gate};
use crate::harness::{Client, Gate, OK, PROTOCOLS, ROUTE, Server, Talk, World, read_head};

#[tokio::test]
async fn of_more_handshakes_than_there_is_time_for_some_are_refused_at_once_and_all_others_are_answered() {
    const ALL: u16 = 300;
    let world = World::new();
    let (gate, _backend) = gate(&world, "[connection]\nhandshakes_waiting = 4\nhandshake_timeout = \"60s\"\n").await;
    let hello = Client::good(&world).hello();
    let mut connections = Vec::new();
    for n in 0..ALL {
        connections.push(from(n, &gate).await);
    }
    gate.wait_for_metric("portcullis_connections_open", f64::from(ALL)).await;
    for tcp in &mut connections {
        tcp.write_all(&hello).await.unwrap();
    }
    // Whoever is not refused hears a ServerHello.
    let heard = connections.iter_mut().map(|tcp| async {
        let read = timeout(PATIENCE, tcp.read(&mut [0; 64])).await.expect("an answer or an end");
        read.is_ok_and(|read| read > 0)
    });
    let answered = u64::try_from(join_all(heard).await.into_iter().filter(|answered| *answered).count()).unwrap();
    let refused = gate.rejects(Reason::HandshakesWaiting).await;
    assert_eq!(answered + refused, u64::from(ALL));
    assert!(answered >= 20 && refused > 0, "{answered} answered, {refused} refused");
    // It is over as soon as it is over.
    assert_eq!(Client::good(&world).get(&gate, "/").await.status, 200);
    assert_eq!(gate.metric("portcullis_handshakes_waiting").await, 0.0);
}

#[tokio::test]
async fn handshakes_that_may_wait_are_all_served() {
    let world = World::new();
    let (gate, _backend) = gate(
        &world,
        "[connection]\nhandshakes_waiting = 1000\nhandshake_wait = \"60s\"\nhandshake_timeout = \"60s\"\n",
    )
    .await;
    let client = Client::good(&world);
    let answers = join_all((0..100).map(|_| client.get(&gate, "/"))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(gate.rejects(Reason::HandshakesWaiting).await, 0);
}

#[tokio::test]
async fn a_request_waits_for_another_to_end_before_it_is_refused() {
    let world = World::new();
    let top = "[http]\nrequests_in_flight = 1\nrequest_wait = \"60s\"\n";
    let (gate, _backend) = gate(&world, top).await;
    for protocol in PROTOCOLS {
        let (mut first, mut second) =
            (Talk::good(&world, &gate, protocol).await, Talk::good(&world, &gate, protocol).await);
        let (first, second) = tokio::join!(first.get("/slow?ms=200"), second.get("/slow?ms=200"));
        assert_eq!((first.status, second.status), (200, 200), "{protocol}");
    }
    assert_eq!(gate.rejects(Reason::RequestsInFlight).await, 0);
}

/// A backend that answers when it is told to.
async fn hesitant() -> (Server, Arc<Notify>) {
    let go = Arc::new(Notify::new());
    let told = Arc::clone(&go);
    let server = Server::tcp(move |_, mut stream| {
        let told = Arc::clone(&told);
        async move {
            while !read_head(&mut stream).await.is_empty() {
                told.notified().await;
                if stream.write_all(OK.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    (server, go)
}

#[tokio::test]
async fn a_request_that_has_waited_long_enough_is_refused_and_so_is_one_too_many_to_wait() {
    let world = World::new();
    let (backend, go) = hesitant().await;
    let top = "[http]\nrequests_in_flight = 1\nrequest_wait = \"2s\"\n";
    let gate =
        Gate::start(&world, &world.config_with(top, &format!("servers = [\"http://{}\"]", backend.address), ROUTE));
    let mut talks = Vec::new();
    for _ in 0..3 {
        talks.push(Talk::good(&world, &gate, "http/1.1").await);
    }
    let [first, second, third] = &mut talks[..] else { unreachable!() };
    let others = async {
        gate.wait_for_metric("portcullis_requests_in_flight", 1.0).await;
        let ask = async |talk: &mut Talk| {
            let answer = talk.get("/").await;
            assert_eq!((answer.status, answer.code().as_str()), (503, "requests_in_flight"));
            gate.request_line(&answer).await
        };
        let lines = tokio::join!(ask(second), ask(third));
        go.notify_one();
        [lines.0, lines.1]
    };
    let (long, lines) = tokio::join!(first.get("/"), others);
    assert_eq!(long.status, 200, "what was accepted is finished");
    // One waits; for the other there is no room to wait in.
    let said = |what: &str| lines.iter().filter(|line| line.contains(what)).count();
    assert_eq!((said("for 2s"), said("and as many wait")), (1, 1), "{lines:?}");
    assert_eq!(gate.rejects(Reason::RequestsInFlight).await, 2);
}
