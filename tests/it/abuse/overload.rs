//! More than the gate can do: accepted work finishes, the excess is refused for its own reason.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use portcullis::reject::Reason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::arrivals::from;
use super::{PATIENCE, gate};
use crate::harness::{Client, PROTOCOLS, Talk, World};

#[tokio::test]
async fn of_more_handshakes_than_there_is_time_for_some_are_refused_at_once_and_all_others_are_answered() {
    const ALL: u16 = 300;
    let world = World::new();
    let (gate, _backend) = gate(&world, "[connection]\nhandshakes_waiting = 4\n").await;
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
    let (gate, _backend) = gate(&world, "[connection]\nhandshakes_waiting = 1000\nhandshake_wait = \"60s\"\n").await;
    let client = Client::good(&world);
    let answers = join_all((0..100).map(|_| client.get(&gate, "/"))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(gate.rejects(Reason::HandshakesWaiting).await, 0);
}

#[tokio::test]
async fn a_request_waits_for_another_to_end_before_it_is_refused() {
    let world = World::new();
    let top = "[http]\nrequests_in_flight = 1\nrequest_wait = \"10s\"\n";
    let (gate, _backend) = gate(&world, top).await;
    for protocol in PROTOCOLS {
        let (mut first, mut second) =
            (Talk::good(&world, &gate, protocol).await, Talk::good(&world, &gate, protocol).await);
        let (first, second) = tokio::join!(first.get("/slow?ms=200"), second.get("/slow?ms=200"));
        assert_eq!((first.status, second.status), (200, 200), "{protocol}");
    }
    assert_eq!(gate.rejects(Reason::RequestsInFlight).await, 0);
}

#[tokio::test]
async fn a_request_that_has_waited_long_enough_is_refused_and_so_is_one_too_many_to_wait() {
    let world = World::new();
    let top = "[http]\nrequests_in_flight = 1\nrequest_wait = \"300ms\"\n";
    let (gate, _backend) = gate(&world, top).await;
    let mut talks = Vec::new();
    for _ in 0..3 {
        talks.push(Talk::good(&world, &gate, "http/1.1").await);
    }
    let [first, second, third] = &mut talks[..] else { unreachable!() };
    let long = first.get("/slow?ms=3000");
    let others = async {
        gate.wait_for_metric("portcullis_requests_in_flight", 1.0).await;
        let started = Instant::now();
        let ask = async |talk: &mut Talk| {
            let answer = talk.get("/").await;
            (answer.status, answer.code(), started.elapsed())
        };
        tokio::join!(ask(second), ask(third))
    };
    let (long, (one, other)) = tokio::join!(long, others);
    assert_eq!(long.status, 200, "what was accepted is finished");
    let mut times = [one, other].map(|(status, code, took)| {
        assert_eq!((status, code.as_str()), (503, "requests_in_flight"));
        took
    });
    times.sort();
    // One waits; for the other there is no room to wait in.
    assert!(times[0] < Duration::from_millis(300) && times[1] >= Duration::from_millis(300), "{times:?}");
    assert_eq!(gate.rejects(Reason::RequestsInFlight).await, 2);
}
