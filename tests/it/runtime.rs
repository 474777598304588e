//! How connections spread over threads, and what happens when the system is short of something.

use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::harness::{Backend, Client, Gate, Process, Session, Speak, World};

const FLAVORS: [&str; 2] = ["threads = 2\nflavor = \"thread-per-core\"", "threads = 2\nflavor = \"work-stealing\""];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_requests_at_once_are_served_whichever_way_threads_share_the_work() {
    let (world, backend) = (World::new(), Backend::echo().await);
    for flavor in FLAVORS {
        let config = world.config(backend.address).replace("threads = 1", flavor);
        let gate = Gate::start(&world, &(config + "[connection]\nhandshakes_per_address = \"10000/s\"\n"));
        let mut requests = tokio::task::JoinSet::new();
        for index in 0..200 {
            let (client, address) = (Client::good(&world), gate.address);
            requests.spawn(async move {
                let mut session = Session::open(client, address, Speak::BOTH[index % 2]).await.unwrap();
                let answer = session.get(&format!("/number/{index}")).await.unwrap();
                assert!(answer.text().contains(&format!("/number/{index}")), "{}", answer.text());
                answer.status
            });
        }
        assert!(requests.join_all().await.iter().all(|status| *status == 200), "{flavor}");
        assert_eq!(gate.metric("portcullis_requests_in_flight").await, 0.0);
    }
}

/// Every thread that serves, and how often it has waited.
fn busy(gate: &Process) -> BTreeSet<(String, u64)> {
    let tasks = fs::read_dir(format!("/proc/{}/task", gate.id())).unwrap();
    let switches = |folder: std::path::PathBuf| {
        let name = fs::read_to_string(folder.join("comm")).unwrap().trim().to_owned();
        let status = fs::read_to_string(folder.join("status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap();
        (name, line.rsplit('\t').next().unwrap().parse().unwrap())
    };
    tasks.map(|task| switches(task.unwrap().path())).filter(|(name, _)| name.starts_with("worker-")).collect()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn both_seats_get_connections() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let gate =
        Process::run(&world.write("gate.toml", &world.config(backend.address).replace("threads = 1", FLAVORS[0])));
    // A thread names itself, a moment after it was started.
    let mut before = busy(&gate);
    while before.len() < 2 {
        tokio::task::yield_now().await;
        before = busy(&gate);
    }
    // The kernel spreads by a hash: sixty-four that all miss one of two is 2^-63.
    for _ in 0..64 {
        let mut session = Session::open(Client::good(&world), gate.address(), Speak::Http1).await.unwrap();
        assert_eq!(session.get("/").await.unwrap().status, 200);
    }
    let after = busy(&gate);
    assert!(before.is_disjoint(&after), "{before:?} {after:?}");
}

/// A gate that may have 64 descriptors and not one more.
fn short_of_descriptors(world: &World, backend: SocketAddr, runtime: &str) -> Process {
    let config = format!("{}[connection]\nhandshake_timeout = \"1m\"\n", world.config(backend));
    let file = world.write("gate.toml", &config.replace("threads = 1", runtime));
    let script = format!("ulimit -n 64 && exec \"$0\" run --config {}", file.display());
    let mut command = std::process::Command::new("bash");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_portcullis")]);
    let gate = Process::spawn(command);
    gate.address();
    gate
}

#[tokio::test]
async fn a_gate_out_of_descriptors_waits_and_serves_again_when_there_are_some() {
    let (world, backend) = (World::new(), Backend::echo().await);
    for runtime in [&["threads = 1"], &FLAVORS[..]].concat() {
        let mut gate = short_of_descriptors(&world, backend.address, runtime);
        let hoard: Vec<_> = (0..80).map(|_| TcpStream::connect(gate.address()).unwrap()).collect();
        let line = gate.line(|line| line.contains("cannot accept"));
        assert!(line.contains("Too many open files"), "{line}");
        assert!(gate.alive());
        drop(hoard);
        // Until it has noticed that they are gone, it may still turn somebody away.
        let served = async {
            loop {
                let Ok(mut session) = Session::open(Client::good(&world), gate.address(), Speak::Http1).await else {
                    continue;
                };
                if session.get("/").await.is_ok_and(|answer| answer.status == 200) {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), served).await.expect("it serves again");
        // It backed off: without a pause there would be thousands.
        let complaints = gate.lines().iter().filter(|line| line.contains("cannot accept")).count();
        assert!(complaints < 100, "{complaints}");
        gate.signal("TERM");
        assert_eq!(gate.wait().code, Some(0));
    }
}
