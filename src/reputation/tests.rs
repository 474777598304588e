//! Whole stories: who is caught, and who must not be.

#![expect(clippy::float_cmp, reason = "what goes in must come out, to the last bit")]

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use super::testing::{identity, rules, rung};
use super::*;
use crate::identity::Identity;

struct Story {
    book: Book,
    rules: Rules,
    now: Duration,
}

impl Story {
    #[expect(clippy::disallowed_methods, reason = "where a book begins is of no account")]
    fn new() -> Self {
        Self { book: Book::new(20_000, Instant::now()), rules: rules(), now: Duration::ZERO }
    }

    fn now(&self) -> Moment {
        Moment::after(self.now)
    }

    fn wait(&mut self, secs: u64) {
        self.now += Duration::from_secs(secs);
    }

    fn come(&self, who: Option<&Identity>, address: IpAddr) -> (Client, Arrived) {
        let arriving = Arriving { identity: who, class: Class::Device, address, print: Some(print()) };
        self.book.admit(&arriving, self.now(), &self.rules)
    }

    /// One connection with one answer of the login route.
    fn login(&self, who: &Identity, address: IpAddr, fails: bool) -> Client {
        let (client, _) = self.come(Some(who), address);
        client.outcome(if fails { Outcome::Counted(1.0) } else { Outcome::Good(1.0) }, self.now(), &self.rules);
        client
    }

    fn action(&self, client: &Client) -> Option<(&'static str, Kind)> {
        let (standing, _) = client.standing(|| self.now(), &self.rules);
        standing.map(|standing| (self.rules.ladder.get(standing.rung).unwrap().action.word(), standing.by))
    }

    /// Twenty handshakes with somebody else's certificate.
    fn forge(&self, address: IpAddr) {
        for _ in 0..20 {
            let _ = self.book.forged(address, Forgery::Stolen, self.now(), &self.rules);
        }
    }

    fn score(&self, subject: Subject) -> f32 {
        self.book.view(&subject, self.now(), &self.rules).map_or(0.0, |view| view.total)
    }
}

fn print() -> crate::fingerprint::Ja4 {
    "t13d1516h2_8daaf6152771_e5627efa2ab1".parse().unwrap()
}

fn v4(n: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(n))
}

fn device(n: u32) -> Identity {
    identity(&format!("CN=device-{n}"), "CN=CA", n, n)
}

#[test]
fn a_slow_stuffer_with_five_thousand_addresses_and_one_certificate_is_caught_by_the_certificate() {
    let mut story = Story::new();
    let stolen = device(1);
    let mut caught = None;
    for n in 0..5_000 {
        // Every address in another /16; two attempts a minute.
        let client = story.login(&stolen, v4(n << 16), true);
        if caught.is_none() && story.action(&client).is_some_and(|(action, _)| action == "drop") {
            caught = Some(n);
        }
        story.wait(30);
    }
    assert!(caught.is_some_and(|n| n < 40), "{caught:?}");
}

#[test]
fn five_thousand_certificates_from_one_network_are_caught_by_the_network() {
    let mut story = Story::new();
    let mut caught = None;
    for n in 0..5_000 {
        let client = story.login(&device(n), v4(0xc000_0200 + n % 250), true);
        if caught.is_none() && story.action(&client).is_some_and(|(action, by)| action == "drop" && by == Kind::Network)
        {
            caught = Some(n);
        }
        story.wait(20);
    }
    assert!(caught.is_some_and(|n| n < 100), "{caught:?}");
    let (refused, _) = story.book.door(v4(0xc000_0277), story.now(), &story.rules);
    assert_eq!(refused, Some(Subject::network(v4(0xc000_0200))), "before the handshake from now on");
}

#[test]
fn a_network_of_many_honest_devices_some_of_which_mistype_is_not_flagged() {
    let mut story = Story::new();
    // Carrier NAT: two thousand devices behind one address, every eighth login fails.
    for n in 0..20_000 {
        let client = story.login(&device(n % 2_000), v4(0xc000_0201), n % 8 == 0);
        assert_eq!(story.action(&client), None, "login {n}");
        story.wait(1);
    }
}

#[test]
fn somebody_who_mistypes_three_times_stays_below() {
    let mut story = Story::new();
    let me = device(1);
    for (n, fails) in [true, true, true, false, false].into_iter().cycle().take(50).enumerate() {
        let client = story.login(&me, v4(7), fails);
        assert_eq!(story.action(&client), None, "login {n}");
        story.wait(if n % 5 == 4 { 3 * 3600 } else { 5 });
    }
}

#[test]
fn ipv6_privacy_addresses_are_one_network() {
    let story = Story::new();
    let me = device(1);
    for n in 0..10_000u128 {
        let (client, arrived) =
            story.come(Some(&me), IpAddr::from(((0x2001_0db8_0001 << 80) | (n << 64) | (n * 77)).to_be_bytes()));
        assert!(arrived.steps.is_empty() && story.action(&client).is_none());
    }
}

#[test]
fn an_extracted_certificate_is_caught_and_the_step_says_why() {
    let story = Story::new();
    let stolen = device(1);
    let mut steps = Vec::new();
    for n in 0..100 {
        steps.extend(story.come(Some(&stolen), v4(n << 8)).1.steps);
    }
    let actions: Vec<_> =
        steps.iter().map(|step| story.rules.ladder.get(step.to.unwrap()).unwrap().action.word()).collect();
    assert_eq!(actions, ["tag", "drop"]);
    assert!(
        steps.iter().all(|step| step.cause == Cause::Spread && step.subject == Subject::Identity(stolen.fingerprint))
    );
}

#[test]
fn who_does_not_hold_a_certificate_cannot_raise_its_score_nor_lock_its_holder_out() {
    let mut story = Story::new();
    let victim = device(1);
    drop(story.come(Some(&victim), v4(1)));
    for _ in 0..1_000 {
        let _ = story.book.forged(v4(1), Forgery::Stolen, story.now(), &story.rules);
        let _ = story.book.stranger(v4(1), Cause::Abuse, 5.0, story.now(), &story.rules);
    }
    assert_eq!(story.score(Subject::Identity(victim.fingerprint)), 0.0);
    assert_eq!(story.score(Subject::network(v4(1))), 0.0);
    // The victim was here: the door stays open, and the victim stands on the ground.
    assert_eq!(story.book.door(v4(1), story.now(), &story.rules).0, None);
    let (client, _) = story.come(Some(&victim), v4(1));
    assert_eq!(story.action(&client), None);
    // A stranger without a certificate, from there, stands where he has put himself.
    let (stranger, _) = story.come(None, v4(1));
    assert_eq!(story.action(&stranger), Some(("drop", Kind::Address)));
    // Nobody vouches for another address.
    story.forge(v4(2));
    assert_eq!(story.book.door(v4(2), story.now(), &story.rules).0, Some(Subject::address(v4(2))));
    // Nor here for longer than two hours.
    story.wait(3 * 3600);
    story.forge(v4(1));
    assert_eq!(story.book.door(v4(1), story.now(), &story.rules).0, Some(Subject::address(v4(1))));
}

#[test]
fn somebody_who_is_banned_vouches_for_nobody() {
    let story = Story::new();
    let thief = device(1);
    drop((0..60).map(|_| story.login(&thief, v4(9), true)).collect::<Vec<_>>());
    let (client, _) = story.come(Some(&thief), v4(0x0909_0909));
    assert_eq!(story.action(&client), Some(("drop", Kind::Identity)));
    story.forge(v4(0x0909_0909));
    assert!(story.book.door(v4(0x0909_0909), story.now(), &story.rules).0.is_some());
}

#[test]
fn failures_of_those_who_have_proven_nothing_count_for_their_address_only() {
    let story = Story::new();
    for _ in 0..60 {
        let (client, _) = story.come(None, v4(3));
        client.outcome(Outcome::Counted(1.0), story.now(), &story.rules);
    }
    assert!(story.score(Subject::address(v4(3))) > 50.0);
    for subject in [Subject::network(v4(3)), Subject::Print(print())] {
        assert_eq!(story.score(subject), 0.0, "{subject}");
    }
}

#[test]
fn a_connection_that_was_there_before_hears_of_its_networks_fall() {
    let story = Story::new();
    let (honest, _) = story.come(Some(&device(1)), v4(0xc000_0201));
    assert_eq!(story.action(&honest), None);
    for n in 10..80 {
        story.login(&device(n), v4(0xc000_0202), true);
    }
    assert_eq!(story.action(&honest), Some(("drop", Kind::Network)));
}

#[test]
fn an_abuse_is_its_identitys() {
    let story = Story::new();
    let (client, _) = story.come(Some(&device(1)), v4(1));
    let steps = client.abuse(12.0, story.now(), &story.rules);
    assert_eq!(steps.iter().map(|step| (step.to, step.cause)).collect::<Vec<_>>(), [(Some(0), Cause::Abuse)]);
    assert_eq!(client.total(Kind::Identity, story.now(), &story.rules), Some((12.0, Cause::Abuse)));
    let (anonymous, _) = story.come(None, v4(2));
    anonymous.abuse(12.0, story.now(), &story.rules);
    assert_eq!(story.score(Subject::address(v4(2))), 12.0);
}

#[test]
fn a_metronome_is_seen_and_only_of_a_device() {
    for (class, caught) in [(Class::Device, true), (Class::Shared, false)] {
        let mut story = Story::new();
        let me = device(1);
        let arriving = Arriving { identity: Some(&me), class, address: v4(1), print: None };
        let (client, _) = story.book.admit(&arriving, story.now(), &story.rules);
        let mut steps = Vec::new();
        for _ in 0..200 {
            story.wait(3);
            steps.extend(client.request("/ad/click", story.now(), &story.rules));
        }
        assert_eq!(steps.iter().any(|step| step.cause == Cause::Pacing), caught);
    }
}

#[test]
fn bans_survive_a_restart_and_lesser_rungs_and_scores_do_not() {
    let story = Story::new();
    let (thief, tagged) = (device(1), device(2));
    drop((0..60).map(|_| story.login(&thief, v4(1), true)).collect::<Vec<_>>());
    drop((0..12).map(|_| story.login(&tagged, v4(0x0500_0000), true)).collect::<Vec<_>>());
    let bans = story.book.bans(story.now(), &story.rules);
    let banned: Vec<_> = bans.iter().map(|ban| ban.subject.kind()).collect();
    assert!(banned.contains(&Kind::Identity) && banned.len() == 2, "the identity and its network: {bans:?}");
    let after = Story::new();
    assert!(bans.iter().all(|ban| after.book.restore(ban, after.now(), &after.rules)));
    assert_eq!(after.action(&after.come(Some(&thief), v4(0x0700_0000)).0), Some(("drop", Kind::Identity)));
    assert_eq!(after.action(&after.come(Some(&tagged), v4(0x0700_0000)).0), None);
    assert_eq!(after.book.bans(after.now(), &after.rules).len(), 2);
}

#[test]
fn an_operator_sees_the_worst_and_forgives() {
    let story = Story::new();
    let thief = device(1);
    drop((0..60).map(|_| story.login(&thief, v4(1), true)).collect::<Vec<_>>());
    story.login(&device(2), v4(0x0600_0000), true);
    let worst = story.book.worst(10, story.now(), &story.rules);
    assert_eq!(worst.len(), 5, "two identities, two networks, a fingerprint");
    assert!(worst[0].rung.is_some() && worst[0].total > 50.0 && worst[4].total < 2.0);
    assert_eq!(story.book.worst(1, story.now(), &story.rules).len(), 1);
    let subject = Subject::Identity(thief.fingerprint);
    assert!(story.book.clear(&subject, &story.rules) && story.book.clear(&Subject::network(v4(1)), &story.rules));
    assert_eq!(story.action(&story.come(Some(&thief), v4(1)).0), None);
    assert!(!story.book.clear(&Subject::Identity(device(9).fingerprint), &story.rules));
}

#[test]
fn another_ladder_is_another_judgement_and_keeps_the_bans() {
    let mut story = Story::new();
    let (thief, suspect) = (device(1), device(2));
    let held = story.login(&thief, v4(1), true);
    drop((0..60).map(|_| story.login(&thief, v4(1), true)).collect::<Vec<_>>());
    let doubtful = story.login(&suspect, v4(0x0600_0000), true);
    drop((0..5).map(|_| story.login(&suspect, v4(0x0600_0000), true)).collect::<Vec<_>>());
    assert_eq!(story.action(&doubtful), None);
    story.rules.ladder = Ladder::new(vec![rung(5.0, Action::Reject, 1), rung(900.0, Action::Drop, 1)]);
    assert_eq!(story.action(&doubtful), Some(("reject", Kind::Identity)), "a lower rung is got to at once");
    story.wait(20 * 60);
    assert_eq!(story.action(&held), Some(("drop", Kind::Identity)), "a ban goes on to its end");
}

#[test]
fn forgeries_alarm_at_first_sight_and_then_now_and_then() {
    let mut story = Story::new();
    let alarms = |story: &Story| -> usize {
        (0..100u32)
            .filter(|n| story.book.forged(v4(*n), Forgery::WrongSignature, story.now(), &story.rules).alarm)
            .count()
    };
    assert_eq!(alarms(&story), 1);
    assert!(story.book.forged(v4(1), Forgery::LookAlike, story.now(), &story.rules).alarm, "another kind");
    assert!(!story.book.forged(v4(1), Forgery::UnknownCa, story.now(), &story.rules).alarm, "may be an accident");
    story.wait(11);
    assert_eq!(alarms(&story), 1);
}

#[test]
fn connections_that_have_ended_are_not_open() {
    let story = Story::new();
    let me = device(1);
    for _ in 0..1_000 {
        assert!(story.come(Some(&me), v4(1)).1.steps.is_empty());
    }
    assert_eq!(story.book.view(&Subject::Identity(me.fingerprint), story.now(), &story.rules).unwrap().open, 0);
}

/// What a book of 10,000 identities holds for each of them, all of whom have been in so many networks, with so much
/// software.
fn bytes_each(networks: u32, prints: u32, restless: bool) -> usize {
    const IDENTITIES: u32 = 10_000;
    let book = Book::new(10_000, crate::clock::Clock::system().now());
    let rules = Rules { spread: SpreadRules { networks: 1_000, prints: 1_000, ..rules().spread }, ..rules() };
    let prints: Vec<crate::fingerprint::Ja4> =
        (0..prints).map(|n| format!("t13d15{n:02}h2_8daaf6152771_e5627efa2ab1").parse().unwrap()).collect();
    let now = Moment::default();
    for n in 0..IDENTITIES {
        let who = device(n);
        for at in 0..networks {
            let print = prints.get(usize::try_from(at).unwrap() % prints.len()).copied();
            let address = v4((n << 8) ^ (at << 24));
            let arriving = Arriving { identity: Some(&who), class: Class::Device, address, print };
            let (client, _) = book.admit(&arriving, now, &rules);
            if restless {
                let _ = client.request("/", now, &rules);
                let _ = client.outcome(Outcome::Counted(1.0), now, &rules);
                let _ = book.stranger(address, Cause::Abuse, 10.0, now, &rules);
            }
        }
    }
    assert_eq!(book.entries(Kind::Identity), 10_000);
    // As many as a book of this size has room for.
    assert!(!restless || (book.entries(Kind::Address), book.entries(Kind::Network)) == (2_500, 1_250));
    book.heap() / usize::try_from(IDENTITIES).unwrap()
}

#[test]
fn a_million_identities_are_a_third_of_a_gigabyte_and_three_quarters_whatever_they_do() {
    // Nothing grows but by the entry: what holds for each of 10,000 holds for each of a million.
    let (phones, restless) = (bytes_each(3, 1, false), bytes_each(20, 20, true));
    assert!((250..=340).contains(&phones), "{phones} bytes each");
    assert!((500..=720).contains(&restless), "{restless} bytes each");
}
