#![expect(clippy::disallowed_methods, reason = "#[tokio::test] builds a runtime of its own")]

use std::sync::atomic::AtomicU32;

use futures_util::FutureExt as _;
use proptest::prelude::*;

use super::*;

fn hears(news: &mut News) -> bool {
    news.changed().now_or_never().is_some()
}

fn heard(place: &Place) -> bool {
    hears(&mut place.news())
}

/// Tells everybody, at once.
fn whole_round(rounds: &Rounds) {
    while let Some(lot) = rounds.next() {
        lot.ring();
    }
}

#[test]
fn whoever_had_a_place_before_a_change_hears_of_it_and_whoever_came_after_need_not() {
    let rounds = Rounds::default();
    let before: Vec<_> = (0..20).map(|_| rounds.join()).collect();
    rounds.change();
    let after: Vec<_> = (0..20).map(|_| rounds.join()).collect();
    whole_round(&rounds);
    assert!(before.iter().all(heard));
    // The last four found room in a lot that was to be told; the others have lots of their own.
    assert_eq!(after.iter().filter(|place| heard(place)).count(), 4);
}

#[test]
fn a_change_in_the_middle_of_a_round_reaches_all_beginning_with_those_who_were_told_of_neither() {
    let rounds = Rounds::default();
    let places: Vec<_> = (0..40).map(|_| rounds.join()).collect();
    rounds.change();
    for _ in 0..2 {
        rounds.next().unwrap().ring();
    }
    assert_eq!(places.iter().filter(|place| heard(place)).count(), 16);
    rounds.change();
    for _ in 0..3 {
        rounds.next().unwrap().ring();
    }
    assert!(places.iter().all(heard), "the three that had heard of nothing come first");
    let mut again: Vec<_> = places.iter().map(Place::news).collect();
    assert!(again.iter_mut().all(hears));
    whole_round(&rounds);
    assert_eq!(
        again.iter_mut().filter_map(|news| hears(news).then_some(())).count(),
        16,
        "and the first two once more"
    );
}

#[test]
fn changes_that_never_stop_keep_nobody_waiting_for_longer_than_a_round() {
    for often in 1..7 {
        let rounds = Rounds::default();
        let places: Vec<_> = (0..320).map(|_| rounds.join()).collect();
        // One of each lot, and how many were told since it was.
        let mut lots: Vec<_> = places.iter().step_by(8).map(|place| (place.news(), 0)).collect();
        for telling in 0..1000 {
            if telling % often == 0 {
                rounds.change();
            }
            rounds.next().unwrap().ring();
            for (news, waited) in &mut lots {
                *waited = if hears(news) { 0 } else { *waited + 1 };
                assert!(*waited < 40, "a change every {often}");
            }
        }
    }
}

#[test]
fn places_that_are_left_are_taken_again_and_no_lot_is_ever_too_full() {
    let rounds = Rounds::default();
    let mut places: Vec<_> = (0..1000).map(|_| rounds.join()).collect();
    for round in 0..10_usize {
        let mut at = 0_usize;
        places.retain(|_| {
            at += 1;
            !(at * 7 + round).is_multiple_of(3)
        });
        places.extend((places.len()..1000).map(|_| rounds.join()));
    }
    let lots = rounds.0.lock();
    assert_eq!((lots.members, lots.all.len()), (1000, 125));
    assert!(lots.all.iter().all(|lot| lot.members == SIZE) && lots.open.is_empty());
    drop(lots);
    drop(places);
    let lots = rounds.0.lock();
    assert_eq!((lots.members, lots.open.len()), (0, 125));
}

#[test]
fn few_are_told_at_once_and_many_over_half_a_second() {
    assert!(step((10, 2)) * 2 < Duration::from_millis(1));
    assert_eq!(step((10_000, 1250)) * 1250, LONGEST);
    assert_eq!(step((u32::MAX, 1000)) * 1000, LONGEST);
    assert_eq!(step((0, 0)), Duration::ZERO);
    assert!(LONGEST + SLACK <= Duration::from_millis(700));
}

#[tokio::test]
async fn no_more_than_a_lot_is_judged_between_two_turns_of_everybody_else() {
    let (rounds, changes) = (Rounds::default(), watch::Sender::new(()));
    let (running, subscribed) = (rounds.clone(), changes.subscribe());
    let telling = tokio::spawn(async move { running.run(subscribed).await });
    let judged = Arc::new(AtomicU32::new(0));
    let connections: Vec<_> = (0..800)
        .map(|_| {
            let (place, judged) = (rounds.join(), Arc::clone(&judged));
            tokio::spawn(async move {
                place.news().changed().await;
                judged.fetch_add(1, Ordering::Relaxed);
            })
        })
        .collect();
    tokio::task::yield_now().await;
    changes.send_replace(());
    let (mut before, mut most, began) = (0, 0, Instant::now());
    while before < 800 {
        // Everybody else.
        tokio::task::yield_now().await;
        let now = judged.load(Ordering::Relaxed);
        most = most.max(now - before);
        before = now;
        assert!(began.elapsed() < Duration::from_secs(10), "{before} have heard");
    }
    // When the machine has stopped for a while, the round is late, and two lots or more are told at a time.
    assert!(most <= SIZE || began.elapsed() > SLACK, "{most} at once");
    for connection in connections {
        connection.await.unwrap();
    }
    telling.abort();
}

#[tokio::test(start_paused = true)]
async fn however_late_a_round_is_everybody_else_has_turns_in_it() {
    let (rounds, changes) = (Rounds::default(), watch::Sender::new(()));
    let (running, subscribed) = (rounds.clone(), changes.subscribe());
    let telling = tokio::spawn(async move { running.run(subscribed).await });
    let places: Vec<_> = (0..SIZE * TOGETHER * 10).map(|_| rounds.join()).collect();
    tokio::task::yield_now().await;
    changes.send_replace(());
    let mut turns = 0;
    while !places.iter().all(heard) {
        // A day passes between two turns: it is never in time again.
        tokio::time::advance(Duration::from_hours(24)).await;
        turns += 1;
        assert!(turns < 1_000, "the round does not end");
    }
    assert!(turns >= 10, "{turns} turns in ten times as many lots as are told together");
    telling.abort();
}

#[tokio::test]
async fn a_round_that_the_thread_has_no_time_for_ends_in_time_all_the_same() {
    let (rounds, changes) = (Rounds::default(), watch::Sender::new(()));
    let (running, subscribed) = (rounds.clone(), changes.subscribe());
    let telling = tokio::spawn(async move { running.run(subscribed).await });
    let judged = Arc::new(AtomicU32::new(0));
    for _ in 0..10_000 {
        let (place, judged) = (rounds.join(), Arc::clone(&judged));
        tokio::spawn(async move {
            place.news().changed().await;
            judged.fetch_add(1, Ordering::Relaxed);
        });
    }
    tokio::task::yield_now().await;
    changes.send_replace(());
    let began = Instant::now();
    // A lot at a time would take 1,250 turns of 5 ms.
    let mut turns = 0;
    while judged.load(Ordering::Relaxed) < 10_000 {
        let turn = Instant::now();
        while turn.elapsed() < Duration::from_millis(5) {
            std::hint::spin_loop();
        }
        turns += 1;
        tokio::task::yield_now().await;
    }
    assert!(turns < 400, "{turns} turns, {:?}", began.elapsed());
    telling.abort();
}

/// What may happen, in any order.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A connection takes its place.
    Join,
    /// One that has a place takes the snapshot.
    Load(usize),
    Leave(usize),
    /// A snapshot is published.
    Publish,
    /// The round hears of what was published, if it has not yet.
    Notice,
    /// One lot is told.
    Tell,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let one = prop_oneof![
        3 => Just(Step::Join),
        3 => any::<usize>().prop_map(Step::Load),
        1 => any::<usize>().prop_map(Step::Leave),
        1 => Just(Step::Publish),
        1 => Just(Step::Notice),
        2 => Just(Step::Tell),
    ];
    prop::collection::vec(one, 1..200)
}

proptest! {
    /// The race of registration, in every order: nobody goes on under an old snapshot without hearing of the new one.
    #[test]
    fn nobody_stays_with_an_old_snapshot_unheard(steps in steps()) {
        let (rounds, current) = (Rounds::default(), AtomicU64::new(1));
        let (mut noticed, mut connections) = (1, Vec::<(Place, Option<u64>)>::new());
        for step in steps {
            match step {
                Step::Join => connections.push((rounds.join(), None)),
                Step::Load(at) if !connections.is_empty() => {
                    let at = at % connections.len();
                    connections[at].1.get_or_insert(current.load(Ordering::Relaxed));
                }
                Step::Leave(at) if !connections.is_empty() => drop(connections.swap_remove(at % connections.len())),
                Step::Publish => drop(current.fetch_add(1, Ordering::Relaxed)),
                Step::Notice if noticed < current.load(Ordering::Relaxed) => {
                    noticed = current.load(Ordering::Relaxed);
                    rounds.change();
                }
                Step::Load(_) | Step::Leave(_) | Step::Notice => {}
                Step::Tell => drop(rounds.next().map(|lot| lot.ring())),
            }
        }
        if noticed < current.load(Ordering::Relaxed) {
            rounds.change();
        }
        whole_round(&rounds);
        for (place, loaded) in &connections {
            let current = current.load(Ordering::Relaxed);
            prop_assert!(loaded.is_none_or(|loaded| loaded == current) || heard(place), "{loaded:?} of {current}");
        }
        let lots = rounds.0.lock();
        prop_assert_eq!(usize::try_from(lots.members).unwrap(), connections.len());
        prop_assert!(lots.all.iter().all(|lot| lot.members <= SIZE));
    }
}
