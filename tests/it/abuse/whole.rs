//! What attacks cost the whole process: its memory and its processor, read from /proc.

use std::fs;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PATIENCE;
use super::honest::Honest;
use crate::harness::{Backend, Client, Process, Session, Speak, World};

/// Resident memory in KiB.
fn resident(process: &Process) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Processor time so far, in ticks of 10 ms.
fn ticks(process: &Process) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.id())).unwrap();
    let fields: Vec<_> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

async fn start(world: &World, top: &str) -> (Process, Backend) {
    let backend = Backend::echo().await;
    let text = format!("{top}\n{}", world.config(backend.address));
    let process = Process::run(&world.write("gate.toml", &text));
    // What is made once for everybody is there before anything is measured.
    let honest = Honest::at(world, process.address()).await;
    honest.were_served().await;
    (process, backend)
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn two_thousand_silent_connections_cost_four_megabytes_and_no_time() {
    rlimit::increase_nofile_limit(20_000).unwrap();
    let world = World::new();
    let (process, _backend) = start(&world, "[connection]\nper_address = 10000\nhandshake_timeout = \"60s\"\n").await;
    let (before, address) = (resident(&process), process.address());
    let mut silent = Vec::new();
    for batch in 1..=10 {
        // No more at once than the system lets wait.
        for _ in 0..200 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let all = async {
            while process.metric("portcullis_connections_open").await < f64::from(batch * 200) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, all).await.expect("a silent connection was refused");
    }
    let each = resident(&process).saturating_sub(before) * 1024 / 2_000;
    assert!(each < 2_048, "{each} bytes each");
    let started = ticks(&process);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let spent = ticks(&process) - started;
    assert!(spent <= 20, "{spent} ticks of 10 ms in a second of silence");
    Honest::at(&world, address).await.were_served().await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_idle_connection_of_a_known_client_costs_some_kilobytes() {
    const COUNT: u64 = 200;
    let world = World::new();
    let top = "[connection]\nper_address = 10000\nhandshakes_per_address = \"100000/s\"\n";
    let (process, _backend) = start(&world, top).await;
    for (speak, most) in Speak::BOTH.into_iter().zip([14, 30]) {
        let (before, mut idle) = (resident(&process), Vec::new());
        for _ in 0..COUNT {
            let mut session = Session::open(Client::good(&world), process.address(), speak).await.unwrap();
            assert_eq!(session.get("/").await.unwrap().status, 200);
            idle.push(session);
        }
        let each = resident(&process).saturating_sub(before) * 1024 / COUNT;
        assert!(each < most * 1024, "{each} bytes each");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn memory_is_flat_however_often_an_attack_is_repeated() {
    let world = World::new();
    let top = "[connection]\nhandshakes_per_address = \"100000/s\"\n[http2]\nresets = 20\n";
    let (process, _backend) = start(&world, top).await;
    let address = process.address();
    let round = async |world: &World| {
        for _ in 0..50 {
            // A hello and no more; too much of a hello; frames that reset; a head without end; a record that is none.
            let mut tcp = TcpStream::connect(address).await.unwrap();
            tcp.write_all(&Client::good(world).hello()).await.unwrap();
            let mut tcp = TcpStream::connect(address).await.unwrap();
            let _ = tcp.write_all(&[[22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff].as_slice(), &[0; 20_000]].concat()).await;
            let _ = tcp.read(&mut [0; 16]).await;
            let mut reset = Client::good(world).alpn(&["h2"]).connect_to(address).await.unwrap();
            let _ = reset.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
            let _ = reset.write_all(&b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08".repeat(30)).await;
            let _ = reset.read_to_end(&mut Vec::new()).await;
            let mut head = Client::good(world).connect_to(address).await.unwrap();
            let _ = head.write_all(&[b"GET / HTTP/1.1\r\nx: ".as_slice(), &[b'y'; 40_000]].concat()).await;
            let _ = head.read_to_end(&mut Vec::new()).await;
            let mut record = Client::good(world).connect_to(address).await.unwrap();
            let _ = record.get_mut().0.write_all(&[23, 3, 3, 0, 32]).await;
            let _ = record.get_mut().0.write_all(&[7; 32]).await;
            let _ = record.read_to_end(&mut Vec::new()).await;
        }
    };
    round(&world).await;
    round(&world).await;
    let before = resident(&process);
    for _ in 0..4 {
        round(&world).await;
    }
    let after = resident(&process);
    assert!(after < before + 8 * 1024, "{before} KiB, then {after} KiB");
    Honest::at(&world, address).await.were_served().await;
    for reason in ["client_hello_too_large", "header_bytes", "tls_invalid"] {
        let name = format!("portcullis_rejects_total{{reason=\"{reason}\"}}");
        let counted = async {
            while process.metric(&name).await < 300.0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, counted).await.expect(reason);
    }
}
