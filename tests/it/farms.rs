//! Farms of clients over real sockets, as a balancer names them: who is caught, and who must not be.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use portcullis::identity::Digest;
use portcullis::tools::pki::Issued;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Client, Gate, Recorder, World, plain_get};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nfine";
const NO: &[u8] = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno";

/// A gate behind a balancer; `/bad` fails, `/good` succeeds.
struct Farm {
    world: World,
    gate: Gate,
    _backends: [Recorder; 2],
}

impl Farm {
    async fn new(ladder: &str) -> Self {
        let world = World::new();
        let (good, bad) = (Recorder::answering(OK).await, Recorder::answering(NO).await);
        let route = |path: &str, upstream: &str| {
            format!(
                "[[host.route]]\npath = \"{path}\"\nallow = \"any-verified\"\nupstream = \"{upstream}\"\n\
                 outcome = {{ statuses = [401] }}\n"
            )
        };
        let server = |recorder: &Recorder| format!("servers = [\"http://{}\"]", recorder.address);
        let upstreams = format!("{}\n[upstream.bad]\n{}", server(&good), server(&bad));
        let routes = [route("/good", "backend"), route("/bad", "bad")].concat();
        let text = world.config_with(ladder, &upstreams, &routes).replacen(
            "address = \"127.0.0.1:0\"",
            "address = \"127.0.0.1:0\"\nproxy_protocol = { from = [\"127.0.0.1/32\"] }",
            1,
        );
        let gate = Gate::start(&world, &text);
        Self { world, gate, _backends: [good, bad] }
    }

    fn client(&self, cn: &str) -> Issued {
        self.world.client(|spec| spec.cn = cn.to_owned())
    }

    /// The status that a client at this address gets, on a connection of its own; `None` if it is closed without one.
    async fn status(&self, who: &Issued, from: IpAddr, path: &str) -> Option<u16> {
        let (family, to) = if from.is_ipv4() { ("TCP4", "127.0.0.1") } else { ("TCP6", "::1") };
        let mut tcp = TcpStream::connect(self.gate.address).await.unwrap();
        tcp.write_all(format!("PROXY {family} {from} {to} 5555 443\r\n").as_bytes()).await.unwrap();
        let mut stream = Client::with(&self.world, who).over(tcp).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: api.test\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        String::from_utf8_lossy(&answer).get(9..12)?.parse().ok()
    }

    /// What the admin listener knows of somebody.
    async fn known(&self, id: &str) -> serde_json::Value {
        let path = format!("/reputation/{}", id.replace('/', "%2F"));
        serde_json::from_str(&plain_get(self.gate.admin.unwrap(), &path).await.text()).unwrap()
    }
}

/// The `n`th address of all there are, none in the /16 of another one.
fn anywhere(n: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0001 + (n << 16)))
}

const REJECT: &str = "[[reputation.ladder]]\nscore = 10\naction = \"reject\"\nfor = \"1h\"\n";

#[tokio::test]
async fn ipv6_privacy_addresses_of_a_device_are_one_network_and_a_tour_of_forty_providers_is_not() {
    let farm = Farm::new(REJECT).await;
    let (phone, stolen) = (farm.client("phone"), farm.client("stolen"));
    let privacy = |n: u16| Ipv6Addr::new(0x2001, 0xdb8, 0x77, n % 3, 0x1000 + n, 0x2222, n, 0x4444);
    let provider = |n: u16| Ipv6Addr::new(0x2001, 0xdb8, n, 1, 1, 2, 3, 4);
    for n in 0..40 {
        assert_eq!(farm.status(&phone, privacy(n).into(), "/good").await, Some(200), "address {n}");
    }
    assert_eq!(farm.known(&id(&phone)).await["spread"]["networks"], 1.0);
    let mut served = 0;
    for n in 0..40 {
        served += u32::from(farm.status(&stolen, provider(n).into(), "/good").await == Some(200));
    }
    // Twelve are a device's, and nine more are a score below ten.
    assert_eq!(served, 21);
    assert_eq!(farm.known(&id(&stolen)).await["rung"], "reject");
    assert_eq!(farm.known(&id(&phone)).await["score"], 0.0);
}

#[tokio::test]
async fn a_farm_with_one_certificate_and_an_address_for_every_password_is_caught_by_the_certificate_alone() {
    // Of the spread nothing is said: it must be its failures.
    let farm = Farm::new(&format!("[reputation.spread]\nnetworks = 10000\n{REJECT}")).await;
    let (farmed, honest) = (farm.client("farmed"), farm.client("honest"));
    let mut tried = 0;
    for n in 0..60 {
        farm.gate.clock.advance(Duration::from_secs(45));
        tried += u32::from(farm.status(&farmed, anywhere(n), "/bad").await == Some(401));
        // Whoever has one of these addresses has nothing to do with it.
        if n % 10 == 0 {
            assert_eq!(farm.status(&honest, anywhere(n), "/good").await, Some(200), "address {n}");
        }
    }
    assert!((10..15).contains(&tried), "{tried} passwords");
    let known = farm.known(&id(&farmed)).await;
    assert_eq!((&known["rung"], known["causes"]["spread"].is_null()), (&"reject".into(), true), "{known}");
}

#[tokio::test]
async fn a_farm_of_certificates_in_one_network_is_caught_by_the_network_alone() {
    let by_network = "[[reputation.ladder]]\nscore = 10\naction = \"drop\"\nfor = \"1h\"\nby = \"network\"\n";
    let farm = Farm::new(by_network).await;
    let mut tried = 0;
    for n in 0..30 {
        // Each fails once, which is nothing.
        let who = farm.client(&format!("farmed-{n}"));
        let from = IpAddr::V4(Ipv4Addr::new(198, 51, 100, n));
        if farm.status(&who, from, "/bad").await == Some(401) {
            tried += 1;
            assert_eq!(farm.known(&id(&who)).await["score"], 1.0);
        }
    }
    assert_eq!(tried, 10, "passwords");
    assert_eq!(farm.known("198.51.100.0/24").await["rung"], "drop");
    let neighbour = IpAddr::V4(Ipv4Addr::new(198, 51, 101, 1));
    assert_eq!(farm.status(&farm.client("neighbour"), neighbour, "/good").await, Some(200));
}

#[tokio::test]
async fn a_stuffer_behind_a_carriers_address_is_caught_and_everybody_else_behind_it_is_served() {
    let farm = Farm::new(REJECT).await;
    let carrier = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 77));
    let stuffer = farm.client("carried");
    let crowd: Vec<_> = (0..12).map(|n| farm.client(&format!("phone-{n}"))).collect();
    let mut tried = 0;
    for round in 0..15 {
        tried += u32::from(farm.status(&stuffer, carrier, "/bad").await == Some(401));
        for (n, who) in crowd.iter().enumerate() {
            // One of them mistypes in every round.
            let mistypes = n == round % 12;
            let (path, expected) = if mistypes { ("/bad", 401) } else { ("/good", 200) };
            assert_eq!(farm.status(who, carrier, path).await, Some(expected), "phone-{n} in round {round}");
        }
    }
    assert_eq!(tried, 10, "passwords");
    assert_eq!(farm.known(&id(&stuffer)).await["rung"], "reject");
    let network = farm.known("203.0.113.0/24").await;
    assert!(network["rung"].is_null() && network["score"].as_f64().unwrap() < 5.0, "{network}");
}

fn id(issued: &Issued) -> String {
    Digest::of(&issued.cert_der()).to_string()
}
