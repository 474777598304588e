//! The record layer against rustls' own on the other side.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::server::NoServerSessionStorage;
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, RootCertStore, ServerConfig, SupportedCipherSuite,
    SupportedProtocolVersion,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream as ClientStream;

use super::drive::Drive;
use super::hello;
use super::record::{self, MOST_PLAIN};
use super::stream::TlsStream;
use crate::tools::pki::{Authority, Issued, KeyKind, LeafSpec, Name, Validity};

struct World {
    roots: Arc<RootCertStore>,
    server: Issued,
}

impl World {
    fn new() -> Self {
        let ca = Authority::new("Test CA", KeyKind::EcdsaP256).unwrap();
        let server =
            ca.issue(&LeafSpec::server("a.test", vec![Name::Dns("a.test".to_owned())], Validity::LONG)).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(server_root(&ca)).unwrap();
        Self { roots: Arc::new(roots), server }
    }

    fn provider(suite: SupportedCipherSuite) -> Arc<CryptoProvider> {
        Arc::new(CryptoProvider { cipher_suites: vec![suite], ..aws_lc_rs::default_provider() })
    }

    fn config(&self, suite: SupportedCipherSuite) -> Arc<ServerConfig> {
        let key: PrivateKeyDer<'static> = self.server.key_der();
        let mut config = ServerConfig::builder_with_provider(Self::provider(suite))
            .with_protocol_versions(&[version(suite)])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(self.server.chain_der(), key)
            .unwrap();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.enable_secret_extraction = true;
        Arc::new(config)
    }

    fn client(&self, suite: SupportedCipherSuite) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Self::provider(suite));
        let builder = builder.with_protocol_versions(&[version(suite)]).unwrap();
        Arc::new(builder.with_root_certificates(Arc::clone(&self.roots)).with_no_client_auth())
    }

    /// Both ends of a connection over a pipe of `width` bytes; a key of ours protects at most `most` records.
    async fn connect(
        &self,
        suite: SupportedCipherSuite,
        width: usize,
        most: u64,
    ) -> (ClientStream<DuplexStream>, TlsStream<DuplexStream>) {
        let (client, mut server) = duplex(width);
        let name = ServerName::try_from("a.test").unwrap();
        let connect = TlsConnector::from(self.client(suite)).connect(name, client);
        let accept = async {
            let mut bytes = Vec::new();
            hello::read(&mut server, 16 * 1024, &mut bytes).await.ok().unwrap();
            let drive = Drive::new(server, self.config(suite), bytes).ok().unwrap();
            let drive = drive.run(None, &mut None).await.ok().unwrap();
            TlsStream::new(drive.establish_for(most).unwrap())
        };
        let (client, server) = tokio::join!(connect, accept);
        (client.unwrap(), server)
    }
}

fn server_root(ca: &Authority) -> rustls::pki_types::CertificateDer<'static> {
    use rustls::pki_types::pem::PemObject as _;
    rustls::pki_types::CertificateDer::from_pem_slice(ca.pem().as_bytes()).unwrap()
}

fn version(suite: SupportedCipherSuite) -> &'static SupportedProtocolVersion {
    if suite.tls13().is_some() { &TLS13 } else { &TLS12 }
}

fn suites() -> Vec<SupportedCipherSuite> {
    let all = aws_lc_rs::default_provider().cipher_suites;
    all.into_iter().filter(|suite| !format!("{:?}", suite.suite()).contains("RSA")).collect()
}

fn aes13() -> SupportedCipherSuite {
    aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256
}

fn aes12() -> SupportedCipherSuite {
    aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
}

/// Bytes that show when they are out of place.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

async fn exchange<A, B>(from: &mut A, to: &mut B, bytes: &[u8], piece: usize)
where
    A: AsyncWrite + Unpin,
    B: AsyncRead + Unpin,
{
    let write = async {
        for part in bytes.chunks(piece) {
            from.write_all(part).await.unwrap();
        }
        from.flush().await.unwrap();
    };
    let read = async {
        let mut got = vec![0; bytes.len()];
        for part in got.chunks_mut(piece.max(7) + 3) {
            to.read_exact(part).await.unwrap();
        }
        got
    };
    let ((), got) = tokio::join!(write, read);
    assert!(got == bytes, "{} bytes in pieces of {piece}", bytes.len());
}

#[tokio::test]
async fn every_suite_of_both_versions_carries_data_both_ways() {
    let world = World::new();
    let suites = suites();
    assert!(suites.len() >= 6, "{suites:?}");
    for suite in suites {
        let (mut client, mut server) = world.connect(suite, 100_000, u64::MAX).await;
        for (length, piece) in [(1, 1), (100, 7), (16_384, 16_384), (16_385, 20_000), (300_000, 70_000)] {
            let bytes = pattern(length);
            exchange(&mut client, &mut server, &bytes, piece).await;
            exchange(&mut server, &mut client, &bytes, piece).await;
        }
    }
}

#[tokio::test]
async fn a_narrow_pipe_cuts_records_anywhere_and_nothing_is_lost() {
    let world = World::new();
    for width in [64, 1_000, 5_000] {
        let (mut client, mut server) = world.connect(aes13(), width, u64::MAX).await;
        exchange(&mut client, &mut server, &pattern(100_000), 33_333).await;
        exchange(&mut server, &mut client, &pattern(100_000), 33_333).await;
    }
}

#[tokio::test]
async fn many_small_writes_are_one_record_and_one_write() {
    let world = World::new();
    let (client, mut server) = world.connect(aes13(), 100_000, u64::MAX).await;
    for part in pattern(1_000).chunks(10) {
        server.write_all(part).await.unwrap();
    }
    server.flush().await.unwrap();
    let (mut pipe, _) = client.into_inner();
    let mut raw = vec![0; 100_000];
    let count = pipe.read(&mut raw).await.unwrap();
    // No ticket is waiting here: what the server sent is one record with one header, one type and one tag.
    assert_eq!(count, 5 + 1_000 + 1 + 16);
}

/// The lengths of the records that wait in `pipe`, with what protects them.
async fn records(pipe: &mut DuplexStream) -> Vec<usize> {
    let mut raw = vec![0; 1_000_000];
    let count = pipe.read(&mut raw).await.unwrap();
    let (mut rest, mut lengths) = (&raw[..count], Vec::new());
    while let Some(length) = record::length(rest).unwrap() {
        lengths.push(length - 5);
        rest = &rest[length..];
    }
    lengths
}

#[tokio::test(start_paused = true)]
async fn a_response_begins_with_small_records_when_nothing_was_sent_for_a_while() {
    let world = World::new();
    let (client, mut server) = world.connect(aes13(), 1_000_000, u64::MAX).await;
    let (mut pipe, _) = client.into_inner();
    for pause in [Duration::ZERO, Duration::from_secs(1)] {
        tokio::time::advance(pause).await;
        // More than waits at once: the buffer is written when it is full, and goes on as it was.
        server.write_all(&pattern(200_000)).await.unwrap();
        server.flush().await.unwrap();
        let lengths = records(&mut pipe).await;
        assert_eq!(lengths[..10], [4_096 + 17; 10], "{lengths:?}");
        assert_eq!(lengths[10], 16_384 + 17, "{lengths:?}");
    }
    // Without a pause it goes on with large ones.
    server.write_all(&pattern(100_000)).await.unwrap();
    server.flush().await.unwrap();
    let lengths = records(&mut pipe).await;
    assert_eq!(lengths[..3], [16_384 + 17; 3], "{lengths:?}");
}

#[tokio::test]
async fn keys_that_are_worn_are_changed_in_time() {
    let world = World::new();
    let (mut client, mut server) = world.connect(aes13(), 1_000_000, 20).await;
    for _ in 0..100 {
        exchange(&mut server, &mut client, &pattern(100), 100).await;
    }
    // TLS 1.2 cannot change them: it must end before they are used too often.
    let (_client, mut server) = world.connect(aes12(), 1_000_000, 20).await;
    let mut sent = 0;
    while sent < 100 && server.write_all(b"x").await.is_ok() && server.flush().await.is_ok() {
        sent += 1;
    }
    assert!(sent < 20, "{sent}");
}

#[tokio::test]
async fn a_client_may_change_its_keys_but_not_for_ever() {
    let world = World::new();
    let (mut client, mut server) = world.connect(aes13(), 1_000_000, u64::MAX).await;
    for _ in 0..50 {
        client.get_mut().1.refresh_traffic_keys().unwrap();
        exchange(&mut client, &mut server, &pattern(100), 100).await;
        exchange(&mut server, &mut client, &pattern(100), 100).await;
    }
    for _ in 0..50 {
        client.get_mut().1.refresh_traffic_keys().unwrap();
    }
    client.flush().await.unwrap();
    let error = server.read_u8().await.unwrap_err();
    assert_eq!(error.to_string(), "TLS record: UnexpectedMessage");
}

#[tokio::test]
async fn a_close_is_told_from_a_cut() {
    let world = World::new();
    for suite in [aes12(), aes13()] {
        let (mut client, mut server) = world.connect(suite, 10_000, u64::MAX).await;
        client.write_all(b"last words").await.unwrap();
        client.shutdown().await.unwrap();
        let mut got = Vec::new();
        server.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"last words");
        // The other direction is still open.
        server.write_all(b"and ours").await.unwrap();
        server.shutdown().await.unwrap();
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"and ours");
        assert!(server.write_all(b"more").await.is_err(), "nothing follows a close_notify");

        let (client, mut server) = world.connect(suite, 10_000, u64::MAX).await;
        drop(client);
        let error = server.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    }
}

/// What the client hears after it has sent `raw` behind its handshake.
async fn answer_to(
    world: &World,
    suite: SupportedCipherSuite,
    raw: &[u8],
) -> (std::io::Error, Option<AlertDescription>) {
    let (client, mut server) = world.connect(suite, 1_000_000, u64::MAX).await;
    let (mut pipe, mut session) = client.into_inner();
    pipe.write_all(raw).await.unwrap();
    let error = server.read_u8().await.unwrap_err();
    drop(server);
    let mut heard = Vec::new();
    pipe.read_to_end(&mut heard).await.unwrap();
    (error, alert_in(&mut session, &heard))
}

fn alert_in(session: &mut ClientConnection, mut heard: &[u8]) -> Option<AlertDescription> {
    while !heard.is_empty() {
        session.read_tls(&mut heard).unwrap();
        if let Err(rustls::Error::AlertReceived(alert)) = session.process_new_packets() {
            return Some(alert);
        }
    }
    None
}

#[tokio::test]
async fn what_is_no_record_of_ours_ends_the_connection_with_an_alert() {
    let world = World::new();
    let garbage = [&[23, 3, 3, 0, 30][..], &[7; 30]].concat();
    let too_long = [23, 3, 3, 0xff, 0xff];
    let empty = [23, 3, 3, 0, 0];
    let cases: [(&[u8], AlertDescription); 7] = [
        (&garbage, AlertDescription::BadRecordMac),
        (&too_long, AlertDescription::RecordOverflow),
        (&empty, AlertDescription::BadRecordMac),
        (b"GET / HTTP/1.1\r\n", AlertDescription::UnexpectedMessage),
        // A change_cipher_spec behind the handshake.
        (&[20, 3, 3, 0, 1, 1], AlertDescription::UnexpectedMessage),
        (&[24, 3, 3, 0, 1, 1], AlertDescription::UnexpectedMessage),
        (&[23, 2, 0, 0, 1, 1], AlertDescription::ProtocolVersion),
    ];
    for suite in [aes12(), aes13()] {
        for (raw, alert) in cases {
            let (error, heard) = answer_to(&world, suite, raw).await;
            assert_eq!(heard, Some(alert), "{raw:?}: {error}");
        }
    }
    // In TLS 1.3 nothing is outside of application data by now, alerts included.
    let (_, heard) = answer_to(&world, aes13(), &[21, 3, 3, 0, 2, 1, 0]).await;
    assert_eq!(heard, Some(AlertDescription::UnexpectedMessage));
    let (_, heard) = answer_to(&world, aes12(), &[21, 3, 3, 0, 2, 1, 0]).await;
    assert_eq!(heard, Some(AlertDescription::BadRecordMac));
}

#[test]
fn lengths_are_read_and_bounded() {
    let table: [(&[u8], Option<usize>); 4] = [
        (&[], None),
        (&[23, 3, 3, 0], None),
        (&[23, 3, 3, 0, 17], Some(22)),
        (&[22, 3, 1, 0x40, 0], Some(5 + MOST_PLAIN)),
    ];
    for (bytes, length) in table {
        assert_eq!(record::length(bytes), Ok(length), "{bytes:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_pieces_in_any_pipe_arrive_whole(
        pieces in proptest::collection::vec(0usize..40_000, 1..8), width in 32usize..70_000, tls13: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let world = World::new();
            let suite = if tls13 { aes13() } else { aes12() };
            let (mut client, mut server) = world.connect(suite, width, u64::MAX).await;
            for piece in pieces {
                let bytes = pattern(piece);
                exchange(&mut client, &mut server, &bytes, 9_999).await;
                exchange(&mut server, &mut client, &bytes, 9_999).await;
            }
        });
    }

    #[test]
    fn no_bytes_behind_a_handshake_make_it_panic(raw in proptest::collection::vec(any::<u8>(), 1..400), tls13: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let world = World::new();
            let (client, mut server) = world.connect(if tls13 { aes13() } else { aes12() }, 10_000, u64::MAX).await;
            let (mut pipe, _) = client.into_inner();
            pipe.write_all(&raw).await.unwrap();
            drop(pipe);
            prop_assert!(server.read_u8().await.is_err());
            Ok(())
        })?;
    }
}
