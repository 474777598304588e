//! Which server is next. Pure.

use super::spec::Balance;

/// The server for the `turn`-th request: `load` tells the requests in flight of each of `count`
/// servers, or `None` of one that gets none. `None` when no server is fit.
///
/// Turns count over the fit servers only, so that the neighbour of an unfit server does not get twice
/// its share.
pub(super) fn choose(
    balance: Balance,
    count: usize,
    turn: usize,
    load: impl Fn(usize) -> Option<usize>,
) -> Option<usize> {
    let least = match balance {
        Balance::RoundRobin => usize::MAX,
        Balance::LeastInFlight => (0..count).filter_map(&load).min()?,
    };
    let fit = || (0..count).filter(|server| load(*server).is_some_and(|load| load <= least));
    // The loads move while they are looked at: the minimum seen above may be gone by now.
    let several = fit().count();
    match several {
        0 => (0..count).find(|server| load(*server).is_some()),
        _ => fit().nth(turn % several).or_else(|| fit().next()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn turns(balance: Balance, loads: &[Option<usize>], turns: usize) -> Vec<Option<usize>> {
        (0..turns).map(|turn| choose(balance, loads.len(), turn, |at| loads[at])).collect()
    }

    #[test]
    fn round_robin_takes_each_in_turn_whatever_the_load() {
        let order = turns(Balance::RoundRobin, &[Some(9), Some(0), Some(5)], 4);
        assert_eq!(order, [Some(0), Some(1), Some(2), Some(0)]);
    }

    #[test]
    fn the_share_of_an_ejected_server_is_spread_over_all_others() {
        let order = turns(Balance::RoundRobin, &[None, Some(0), Some(0), Some(0)], 6);
        assert_eq!(order, [1, 2, 3, 1, 2, 3].map(Some));
    }

    #[test]
    fn least_in_flight_takes_ties_in_turn() {
        let order = turns(Balance::LeastInFlight, &[Some(1), Some(3), None, Some(1)], 4);
        assert_eq!(order, [Some(0), Some(3), Some(0), Some(3)]);
    }

    #[test]
    fn nobody_fit_is_nobody() {
        for balance in [Balance::RoundRobin, Balance::LeastInFlight] {
            assert_eq!(choose(balance, 2, 7, |_| None), None);
            assert_eq!(choose(balance, 0, 7, |_| Some(0)), None);
        }
    }

    proptest! {
        #[test]
        fn a_choice_is_always_fit_and_least_where_that_is_asked(
            loads in proptest::collection::vec(proptest::option::of(0_usize..4), 0..9),
            turn: usize,
        ) {
            for balance in [Balance::RoundRobin, Balance::LeastInFlight] {
                match choose(balance, loads.len(), turn, |at| loads[at]) {
                    None => prop_assert!(loads.iter().all(Option::is_none)),
                    Some(at) => {
                        prop_assert!(loads[at].is_some());
                        if balance == Balance::LeastInFlight {
                            prop_assert_eq!(loads[at], loads.iter().flatten().min().copied());
                        }
                    }
                }
            }
        }
    }
}
