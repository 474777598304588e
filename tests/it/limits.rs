//! How much a client may ask for, and what it is told.

use std::time::Duration;

use crate::harness::{Backend, Client, Gate, PROTOCOLS, Server, Talk, World, empty};

/// The usual gate with a limit `l` (`keys`, two at once and one a minute) on routes `/a` and `/b`.
fn config(world: &World, backend: std::net::SocketAddr, keys: &str) -> String {
    let routes = ["/a", "/b"].map(|path| {
        format!(
            "[[host.route]]\npath = \"{path}\"\nallow = \"any-verified\"\nupstream = \"backend\"\nlimit = [\"l\"]\n"
        )
    });
    let wild = "[[host]]\nnames = [\"other.test\"]\ncertificate = { chain = \"server.pem\", key = \"server.key\" }\ntrust = \"test\"\n";
    let limit = format!("[limit.l]\nkey = {keys}\nrate = \"1/m\"\nburst = 2\n");
    let routes = [&routes.concat(), wild, &routes.concat()].concat();
    world.config_with(&limit, &format!("servers = [\"http://{backend}\"]"), &routes)
}

async fn statuses(talk: &mut Talk, path: &str, count: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..count {
        statuses.push(talk.get(path).await.status);
    }
    statuses
}

#[tokio::test]
async fn an_exhausted_limit_answers_429_and_when_to_come_back() {
    let world = World::new();
    let recorder = Server::answering(crate::harness::OK).await;
    for protocol in PROTOCOLS {
        let gate = Gate::start(&world, &config(&world, recorder.address, "\"identity\""));
        let mut talk = Talk::good(&world, &gate, protocol).await;
        let first = talk.get("/a").await;
        assert_eq!(first.status, 200);
        assert_eq!(first.header("ratelimit-policy"), "\"l\";q=1;w=60");
        assert!(first.header("ratelimit").starts_with("\"l\";r=1;t="), "{:?}", first.headers);
        assert!(talk.get("/b").await.header("ratelimit").starts_with("\"l\";r=0;t="));
        let refused = talk.get("/a").await;
        assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limited"));
        assert!(refused.header("ratelimit").starts_with("\"l\";r=0;t="), "{:?}", refused.headers);
        let wait: u64 = refused.header("retry-after").parse().unwrap();
        assert!((59..=60).contains(&wait), "{wait}");
        let line = gate.request_line(&refused).await;
        assert!(line.contains("\"reason\":\"rate_limited\"") && line.contains("\"subject\":\"CN=good\""), "{line}");
        gate.clock.advance(Duration::from_secs(wait));
        assert_eq!(statuses(&mut talk, "/a", 2).await, [200, 429]);
        // Counted when the answer has left the gate, which may be after it was read.
        gate.wait_for_metric("portcullis_rejects_total{reason=\"rate_limited\"}", 2.0).await;
    }
}

#[tokio::test]
async fn what_shares_a_count_is_what_the_key_says() {
    let world = World::new();
    let backend = Server::answering(crate::harness::OK).await;
    let other = world.client(|spec| spec.cn = "good".to_owned());
    // After `/a` is exhausted: the same client on `/b`, another certificate on `/a`, another host's `/a`.
    let table: [(&str, u16, u16, u16); 9] = [
        ("\"identity\"", 429, 200, 429),
        ("\"address\"", 429, 429, 429),
        ("\"prefix\"", 429, 429, 429),
        ("\"host\"", 429, 429, 200),
        ("\"route\"", 200, 429, 200),
        ("\"all\"", 429, 429, 429),
        ("[\"identity\", \"route\"]", 200, 200, 200),
        ("[\"identity\", \"host\"]", 429, 200, 200),
        ("[\"address\", \"route\"]", 200, 429, 200),
    ];
    for (keys, route, identity, host) in table {
        let gate = Gate::start(&world, &config(&world, backend.address, keys));
        let mut talk = Talk::good(&world, &gate, "h2").await;
        assert_eq!(statuses(&mut talk, "/a", 3).await, [200, 200, 429], "{keys}");
        assert_eq!(talk.get("/b").await.status, route, "{keys} route");
        let mut stranger = Talk::open(Client::with(&world, &other), &gate, "http/1.1").await;
        assert_eq!(stranger.get("/a").await.status, identity, "{keys} identity");
        let answer = Client::good(&world).server_name("other.test").get(&gate, "/a").await;
        assert_eq!(answer.status, host, "{keys} host");
    }
}

#[tokio::test]
async fn a_client_cannot_reset_its_count_by_connecting_anew_or_by_another_protocol() {
    let world = World::new();
    let backend = Server::answering(crate::harness::OK).await;
    let gate = Gate::start(&world, &config(&world, backend.address, "\"identity\""));
    let mut statuses = Vec::new();
    for protocol in ["h2", "http/1.1", "h2", "http/1.1"] {
        statuses.push(Talk::good(&world, &gate, protocol).await.get("/a").await.status);
    }
    assert_eq!(statuses, [200, 200, 429, 429]);
}

#[tokio::test]
async fn counts_survive_a_reload_that_does_not_change_the_limit() {
    let world = World::new();
    let backend = Server::answering(crate::harness::OK).await;
    let config = config(&world, backend.address, "\"identity\"");
    let gate = Gate::start(&world, &config);
    let mut talk = Talk::good(&world, &gate, "http/1.1").await;
    assert_eq!(statuses(&mut talk, "/a", 3).await, [200, 200, 429]);
    let other = format!("[limit.other]\nkey = \"all\"\nrate = \"1/s\"\n{config}").replace("\"/b\"", "\"/c\"");
    gate.reload(&other).unwrap();
    assert_eq!(talk.get("/c").await.status, 429);
    assert_eq!(Talk::good(&world, &gate, "h2").await.get("/a").await.status, 429);
    gate.reload(&config.replace("burst = 2", "burst = 3")).unwrap();
    assert_eq!(statuses(&mut talk, "/a", 4).await, [200, 200, 200, 429]);
}

#[tokio::test]
async fn a_refused_request_is_not_counted_and_the_first_limit_that_is_exhausted_answers() {
    let world = World::new();
    let backend = Server::answering(crate::harness::OK).await;
    let top = "[limit.wide]\nkey = \"all\"\nrate = \"1/m\"\nburst = 3\n[limit.narrow]\nkey = \"identity\"\nrate = \"1/m\"\nburst = 1\n";
    let routes = "[[host.route]]\npath = \"/\"\nallow = \"any-verified\"\ndeny = [{ subject_cn = \"bad\" }]\nupstream = \"backend\"\nlimit = [\"wide\", \"narrow\"]\n";
    let gate =
        Gate::start(&world, &world.config_with(top, &format!("servers = [\"http://{}\"]", backend.address), routes));
    let bad = world.client(|spec| spec.cn = "bad".to_owned());
    let mut denied = Talk::open(Client::with(&world, &bad), &gate, "h2").await;
    assert_eq!(statuses(&mut denied, "/", 5).await, [403; 5]);
    let mut talk = Talk::good(&world, &gate, "h2").await;
    assert_eq!(talk.get("/").await.status, 200);
    let refused = talk.get("/").await;
    assert_eq!(refused.status, 429);
    assert!(refused.header("ratelimit").starts_with("\"narrow\""), "{:?}", refused.headers);
}

#[tokio::test]
async fn more_requests_in_flight_than_the_gate_takes_are_answered_503() {
    let world = World::new();
    let (arrived, mut arrivals) = tokio::sync::mpsc::unbounded_channel();
    let slow = Server::tcp(move |_, mut stream| {
        let arrived = arrived.clone();
        async move {
            crate::harness::read_head(&mut stream).await;
            arrived.send(()).unwrap();
            crate::harness::read_head(&mut stream).await;
        }
    })
    .await;
    let backend = Backend::echo().await;
    let upstream = format!(
        "servers = [\"http://{}\"]\n[upstream.quick]\nservers = [\"http://{}\"]",
        slow.address, backend.address
    );
    let routes = "[[host.route]]\npath = \"/slow\"\nallow = \"any-verified\"\nupstream = \"backend\"\n[[host.route]]\npath = \"/\"\nallow = \"any-verified\"\nupstream = \"quick\"\n";
    let gate = Gate::start(&world, &world.config_with("[http]\nrequests_in_flight = 1\n", &upstream, routes));
    for protocol in PROTOCOLS {
        let mut talk = Talk::good(&world, &gate, "h2").await;
        let held = tokio::spawn(async move { talk.send(http::Request::get("/slow").body(empty()).unwrap()).await });
        arrivals.recv().await.unwrap();
        let answer = Talk::good(&world, &gate, protocol).await.get("/").await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "requests_in_flight"));
        assert!(gate.request_line(&answer).await.contains("\"level\":\"ERROR\""));
        held.abort();
        let _ = held.await;
        loop {
            // Its end is the gate's to notice.
            let answer = Talk::good(&world, &gate, protocol).await.get("/").await;
            if answer.status == 200 {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
}
