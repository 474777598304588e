//! Files that are used, and what they mean.

use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use super::super::reference::{Form, Kind, ROOT, Table};
use super::{BASE, config, parse, with};
use crate::config::{Config, Places};
use crate::limits::{Key, Rate};
use crate::policy::spec::{Allow, ClientCertificateMode, PathPattern};
use crate::runtime::Flavor;
use crate::telemetry::{LogFormat, LogSpec};
use crate::upstream::{Balance, Via};

fn rate(count: u32, seconds: u64) -> Rate {
    Rate { count: NonZeroU32::new(count).expect("not zero"), per: Duration::from_secs(seconds) }
}

#[test]
fn what_is_not_written_is_safe() {
    let c = config(BASE);
    assert_eq!(c.warnings, []);
    assert_eq!(c.listeners[0].backlog, 1024);
    assert!(c.listeners[0].proxy_protocol_from.is_empty() && c.listeners[0].default_host.is_none());
    let host = &c.hosts[0];
    assert_eq!(host.client_certificate, ClientCertificateMode::Require);
    assert!(!host.paths.semicolon && !host.paths.encoded_slash && !host.paths.empty_segment);
    let route = &host.routes[0];
    assert!(route.methods.is_empty() && route.deny.is_empty() && route.limits.is_empty() && route.upgrades.is_empty());
    assert_eq!((&*route.name, route.body_bytes), ("api.example.com/v1/*", None));
    let trust = &c.trust[0];
    assert_eq!(
        (trust.min_rsa_bits, trust.max_chain_length, trust.max_chain_bytes, trust.max_names),
        (2048, 4, 32_768, 64)
    );
    assert_eq!(c.forwarded, super::super::ForwardedSpec::default());
    assert!(c.admin.is_none());
    assert_eq!(c.log, LogSpec { format: LogFormat::Auto, level: "info".into(), access: true });
    assert_eq!((c.runtime.flavor, c.runtime.threads), (Flavor::ThreadPerCore, None));
    assert_eq!((c.drain_timeout, c.reload_interval), (Duration::from_secs(30), Duration::from_secs(1)));
}

#[test]
fn what_is_not_written_is_bounded() {
    let c = config(BASE);
    let seconds = Duration::from_secs;
    assert_eq!((c.connection.per_address, c.connection.max, c.connection.handshakes), (1024, 50_000, 1000));
    assert_eq!(c.connection.handshakes_per_address, rate(100, 1));
    assert_eq!((c.connection.handshake_timeout, c.connection.max_age), (seconds(10), seconds(86_400)));
    assert_eq!(c.connection.client_hello_bytes, 16_384);
    let http1 = c.http1;
    assert_eq!((http1.header_bytes, http1.header_count, http1.uri_bytes), (32_768, 100, 8192));
    assert_eq!(
        (http1.header_timeout, http1.body_timeout, http1.write_timeout),
        (seconds(10), seconds(30), seconds(30))
    );
    assert_eq!((http1.idle_timeout, http1.max_requests), (seconds(75), 10_000));
    let http2 = c.http2;
    assert_eq!((http2.streams, http2.resets, http2.continuations), (100, 100, 20));
    assert_eq!((http2.settings, http2.pings, http2.control_frames), (50, 100, 1000));
    assert_eq!((http2.header_bytes, http2.stream_window, http2.connection_window), (32_768, 262_144, 1_048_576));
    assert_eq!((http2.body_timeout, http2.idle_timeout, http2.max_requests), (seconds(30), seconds(75), 10_000));
    assert_eq!((c.body_bytes, c.requests_in_flight), (10 << 20, 10_000));
    let upstream = &c.upstreams[0];
    assert_eq!((upstream.balance, upstream.max_idle, upstream.eject_after), (Balance::RoundRobin, 256, 5));
    assert_eq!((upstream.timeouts.connect, upstream.timeouts.response), (seconds(5), seconds(60)));
    assert_eq!((upstream.timeouts.idle, upstream.timeouts.keep_alive), (seconds(60), seconds(60)));
    assert_eq!(upstream.eject_for, seconds(10));
    assert!(upstream.forward.client_cert && upstream.forward.plain);
    assert!(!upstream.forward.client_cert_chain && !upstream.forward.xfcc);
}

#[test]
fn a_limit_without_a_burst_has_that_of_its_rate() {
    let limit = |rest: &str| config(&format!("{BASE}[limit.x]\nkey = \"identity\"\n{rest}\n")).limits.remove(0);
    let spec = limit("rate = \"600/m\"");
    assert_eq!((spec.rate, spec.burst.get(), &*spec.key), (rate(600, 60), 600, &[Key::Identity][..]));
    assert_eq!((spec.prefix_v4, spec.prefix_v6, spec.max_keys), (24, 64, 100_000));
    assert_eq!(limit("rate = \"600/m\"\nburst = 20").burst.get(), 20);
}

#[test]
fn every_key_that_the_reference_has_is_read_as_it_says() {
    // Each section of the example alone with one key less than it has: what is missing is what
    // the reference prints as default, and what is required is a problem at its section.
    let text = super::super::example_toml();
    // Where things stand moves with every line.
    let nowhere = |config| format!("{:?}", Config { places: Places::default(), ..config });
    let whole = nowhere(config(&text));
    for (number, line) in text.lines().enumerate() {
        let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) else { continue };
        let without: Vec<_> = text.lines().enumerate().filter(|(at, _)| *at != number).map(|(_, line)| line).collect();
        let section = text.lines().take(number).filter(|line| line.starts_with('[')).last().expect("a section");
        match parse("c.toml", &without.join("\n")) {
            // These have an example that is not their default, which would show nothing.
            Ok(_) if matches!(key, "crl" | "limit" | "outcome") => {}
            Ok(config) => assert_eq!(nowhere(config), whole, "{section} {key}"),
            Err(problems) => {
                let said =
                    problems.iter().any(|problem| problem.path.ends_with(key) && problem.what.contains("missing"));
                assert!(said, "{section} {key}: {problems:?}");
            }
        }
    }
}

#[test]
fn every_optional_key_of_the_example_is_right_once_it_is_no_comment() {
    let text = super::super::example_toml();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut matcher = String::new();
    for line in &mut lines {
        if let Some(condition) = line.strip_prefix("#   ") {
            matcher.push_str(if matcher.is_empty() { "" } else { ", " });
            matcher.push_str(condition);
        } else if let Some((key, _)) = line.strip_prefix("# ").and_then(|rest| rest.split_once(" = "))
            && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        {
            line.drain(..2);
        }
    }
    let text = lines.join("\n").replace("deny = []", &format!("deny = {{ {matcher} }}"));
    let c = config(&text);
    assert_eq!(c.listeners[0].proxy_protocol_from.len(), 1);
    assert_eq!(c.listeners[0].default_host.as_deref(), Some("api.example.com"));
    let deny = &c.hosts[0].routes[0].deny[0];
    assert_eq!(&*deny.serial[0].0, [0x0a, 0x1b, 0x2c]);
    let lists = [&deny.subject_cn, &deny.subject_o, &deny.subject_ou, &deny.subject, &deny.issuer_cn, &deny.issuer_o];
    assert!(
        lists.iter().chain(&[&deny.issuer_ou, &deny.issuer, &deny.dns, &deny.uri, &deny.email]).all(|l| l.len() == 1)
    );
    assert_eq!((deny.ip.len(), deny.fingerprint.len(), deny.spki.len()), (1, 1, 1));
    assert_eq!(c.runtime.threads.map(std::num::NonZeroUsize::get), Some(4));
}

#[test]
fn every_section_of_the_file_is_in_the_example() {
    fn walk(table: &Table, example: &str) {
        for key in table.keys {
            if let Kind::Tables(below) | Kind::Named(below) = key.kind
                && !matches!(below.form, Form::Inline)
            {
                assert!(example.contains(&format!("[{}", below.name)), "{}", below.name);
                walk(below, example);
            }
        }
    }
    walk(&ROOT, &super::super::example_toml());
}

#[test]
fn paths_are_prefixes_exact_or_patterns() {
    for (path, pattern) in [
        ("\"/\"", PathPattern::Prefix("/".into())),
        ("\"/v1/a-b_c~d!$&'()+,=:@\"", PathPattern::Prefix("/v1/a-b_c~d!$&'()+,=:@".into())),
        ("\"/%C3%A4\"", PathPattern::Prefix("/%C3%A4".into())),
        ("{ exact = \"/v1/\" }", PathPattern::Exact("/v1/".into())),
        ("{ glob = \"/a/*/b/**\" }", PathPattern::Glob("/a/*/b/**".into())),
    ] {
        assert_eq!(config(&with("\"/v1\"", path)).hosts[0].routes[0].path, pattern);
    }
}

#[test]
fn what_a_host_tolerates_in_paths_its_routes_may_have() {
    let text = with(
        "trust = \"mobile\"",
        "trust = \"mobile\"\nallow_in_path = [\"semicolon\", \"encoded-slash\", \"empty-segment\"]",
    );
    let c = config(&text.replace("\"/v1\"", "\"/a;b//c%2Fd\""));
    let paths = c.hosts[0].paths;
    assert!(paths.semicolon && paths.encoded_slash && paths.empty_segment);
}

#[test]
fn who_may_is_what_the_file_says() {
    let allow = |text: &str| config(text).hosts[0].routes[0].allow.clone();
    assert!(matches!(allow(BASE), Allow::AnyVerified));
    let optional = with("trust = \"mobile\"", "trust = \"mobile\"\nclient_certificate = \"optional\"");
    assert!(matches!(allow(&optional), Allow::AnyVerified));
    assert!(matches!(allow(&optional.replace("any-verified", "anyone")), Allow::Anyone));
    let open = with("trust = \"mobile\"", "client_certificate = \"none\"").replace("any-verified", "anyone");
    assert!(matches!(allow(&open), Allow::Anyone));
    let text = with("\"any-verified\"", "[{ issuer_cn = \"CA\", dns = [\"*.A.b.\", \"c\"] }, { email = \"A@B.C\" }]");
    let Allow::Matching(matchers) = allow(&text) else { panic!("not matchers") };
    assert_eq!((&*matchers[0].issuer_cn[0], &*matchers[0].dns[0], &*matchers[1].email[0]), ("CA", "*.a.b", "A@b.c"));
    assert!(
        matches!(allow(&with("\"any-verified\"", "{ subject_o = \"x\" }")), Allow::Matching(one) if one.len() == 1)
    );
}

#[test]
fn serial_numbers_are_read_in_every_spelling() {
    for (text, bytes) in [("01", &[1][..]), ("0:0A:ff", &[0x0a, 0xff]), ("abc", &[0x0a, 0xbc]), ("00ff", &[0xff])] {
        let text = with("\"any-verified\"", &format!("{{ serial = \"{text}\" }}"));
        let Allow::Matching(matchers) = config(&text).hosts[0].routes[0].allow.clone() else { panic!("not matchers") };
        assert_eq!(&*matchers[0].serial[0].0, bytes);
    }
}

#[test]
fn names_of_hosts_are_normalized() {
    let names = r#"["API.Example.com.", "*.Example.COM", "10.0.0.1", "[2001:DB8::1]", "my_host"]"#;
    let c = config(&with("[\"api.example.com\"]", names));
    let found: Vec<_> = c.hosts[0].names.iter().map(|name| &**name).collect();
    assert_eq!(found, ["api.example.com", "*.example.com", "10.0.0.1", "2001:db8::1", "my_host"]);
}

#[test]
fn servers_have_the_port_of_their_scheme() {
    let text = with(
        "[\"http://10.0.0.5:9000\"]",
        "[\"http://a\", \"h2c://b\", \"https://C.d/\", \"https://[::1]:8443\"]\ntls = { anchors = \"ca.pem\" }",
    );
    let servers = config(&text).upstreams.remove(0).servers;
    let found: Vec<_> = servers.iter().map(|server| (server.via, &*server.host, server.port)).collect();
    assert_eq!(found, [(Via::Http1, "a", 80), (Via::Http2, "b", 80), (Via::Tls, "c.d", 443), (Via::Tls, "::1", 8443)]);
}

#[test]
fn relative_paths_begin_in_the_directory_of_the_file() {
    let file = |name: &str, chain: &str| {
        let c = parse(name, &with("\"api.pem\"", &format!("\"{chain}\""))).expect("no problem");
        c.hosts[0].certificates[0].chain.clone()
    };
    assert_eq!(file("/etc/portcullis/c.toml", "api.pem"), Path::new("/etc/portcullis/api.pem"));
    assert_eq!(file("config/c.toml", "../certs/api.pem"), Path::new("config/../certs/api.pem"));
    assert_eq!(file("c.toml", "api.pem"), Path::new("api.pem"));
    assert_eq!(file("/etc/c.toml", "/srv/api.pem"), Path::new("/srv/api.pem"));
}

#[test]
fn what_nothing_names_is_a_warning_with_a_place() {
    let text = format!(
        "{BASE}[trust.old]\nanchors = \"x\"\n[limit.old]\nkey = \"all\"\nrate = \"1/s\"\n[upstream.old]\nservers = \"http://x\"\n"
    );
    let warnings: Vec<_> = config(&text).warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "c.toml:18:1: trust.old: this trust store is not used",
            "c.toml:20:1: limit.old: this limit is not used",
            "c.toml:23:1: upstream.old: this upstream is not used",
        ]
    );
}

#[test]
fn an_admin_listener_needs_a_section_and_a_public_one_a_word_and_a_token_more() {
    let admin = |text: &str| config(&format!("{BASE}[admin]\n{text}\n")).admin.map(|admin| admin.address.to_string());
    assert_eq!(admin("").as_deref(), Some("127.0.0.1:9901"));
    assert_eq!(admin("address = \"[::1]:1\"").as_deref(), Some("[::1]:1"));
    let public = "address = \"0.0.0.0:1\"\npublic = true\ntoken_file = \"token\"";
    assert_eq!(admin(public).as_deref(), Some("0.0.0.0:1"));
    assert_eq!(admin("address = \"unix:/run/a.sock\"").as_deref(), Some("unix:/run/a.sock"));
}

#[test]
fn zero_switches_off_only_what_it_may() {
    assert_eq!(config(&format!("{BASE}[reload]\ninterval = \"0s\"\n")).reload_interval, Duration::ZERO);
    assert_eq!(
        config(&with(":9000\"]", ":9000\"]\neject_after = 0\nmax_idle = 0\nforward = []")).upstreams[0].eject_after,
        0
    );
    assert_eq!(
        config(&with("path = \"/v1\"", "path = \"/v1\"\nbody_bytes = 0")).hosts[0].routes[0].body_bytes,
        Some(0)
    );
}

#[test]
fn ten_thousand_routes_are_read() {
    let hosts: Vec<_> = (0..10_000)
        .map(|at| {
            format!(
                "[[host]]\nnames = \"h{at}.example.com\"\ncertificate = {{ chain = \"c\", key = \"k\" }}\ntrust = \"mobile\"\n\
                 [[host.route]]\npath = \"/r{at}\"\nallow = {{ subject_cn = \"c{at}\" }}\nupstream = \"api\"\n"
            )
        })
        .collect();
    assert_eq!(config(&format!("{BASE}{}", hosts.concat())).hosts.len(), 10_001);
    let routes: Vec<_> = (0..10_000)
        .map(|at| format!("[[host.route]]\npath = \"/r{at}\"\nallow = \"any-verified\"\nupstream = \"api\"\n"))
        .collect();
    let one_host = with("[trust.mobile]", &format!("{}[trust.mobile]", routes.concat()));
    assert_eq!(config(&one_host).hosts[0].routes.len(), 10_001);
}
