use alloc::vec;

use proptest::prelude::*;

use super::*;
use crate::cbor;

const NOW: Timestamp = Timestamp(1_000_000);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn peer(n: u16) -> PeerId {
    let mut id = [0; 32];
    id[..2].copy_from_slice(&n.to_be_bytes());
    PeerId(id)
}

fn pass(standings: &mut Standings, of: u16, times: u32) {
    for _ in 0..times {
        standings.passed(NOW, peer(of), None);
    }
}

fn agree(standings: &mut Standings, a: u16, b: u16) {
    standings.passed(NOW, peer(a), Some(peer(b)));
    standings.passed(NOW, peer(b), Some(peer(a)));
}

#[test]
fn the_rate_is_whole_at_first_and_falls_to_the_floor() {
    const TENTH: Share = Share::of(1, 10);
    assert_eq!(rate(0, K, TENTH), Share::ONE);
    assert_eq!(rate(K - 1, K, TENTH), Share::ONE);
    assert_eq!(rate(K, K, TENTH), Share::ONE);
    assert_eq!(rate(1000, K, TENTH), Share::of(1, 2));
    assert_eq!(rate(4999, K, TENTH), Share::of(500, 4999));
    assert_eq!(rate(5000, K, TENTH), TENTH);
    assert_eq!(rate(u32::MAX, K, TENTH), TENTH);
    assert_eq!(rate(1000, 158, Share::of(1, 20)).as_f64(), Share::of(158, 1000).as_f64());
}

#[test]
fn a_share_draws_exactly_its_part() {
    let half = Share::of(1, 2);
    assert!(half.is_drawn((1 << 63) - 1));
    assert!(!half.is_drawn(1 << 63));
    assert!(Share::ONE.is_drawn(u64::MAX));
    assert!(!Share::ZERO.is_drawn(0));
    assert_eq!(Share::of(1, 0), Share::ONE);
    assert_eq!(Share::of(u64::MAX - 1, u64::MAX), Share::ONE);
    assert!(Share::of(1, 3).as_f64() >= 1.0 / 3.0);
}

#[test]
fn passes_make_a_worker_established_and_a_failure_starts_over() {
    let mut standings = Standings::default();
    pass(&mut standings, 1, ESTABLISHED - 1);
    assert!(!standings.is_established(&peer(1)));
    pass(&mut standings, 1, 1);
    assert!(standings.is_established(&peer(1)));
    assert_eq!(standings.failed(NOW, peer(1)), None);
    assert_eq!(standings.k(&peer(1)), 0);
    let standing = standings.get(&peer(1)).unwrap();
    assert_eq!((standing.passed, standing.failed), (u64::from(ESTABLISHED), 1));
    assert_eq!(standings.k(&peer(2)), 0);
}

#[test]
fn agreements_of_newcomers_are_lost_when_one_of_them_is_caught() {
    let mut standings = Standings::default();
    pass(&mut standings, 2, 5);
    agree(&mut standings, 1, 2);
    agree(&mut standings, 1, 2);
    agree(&mut standings, 2, 3);
    assert_eq!([1, 2, 3].map(|n| standings.k(&peer(n))), [2, 8, 1]);
    standings.take_changed();
    standings.failed(NOW, peer(1));
    assert_eq!([1, 2, 3].map(|n| standings.k(&peer(n))), [0, 6, 1]);
    let changed: Vec<_> = standings.take_changed().into_iter().map(|(id, _)| id).collect();
    assert_eq!(changed, [peer(1), peer(2)]);
    // What was lost once is not lost twice.
    standings.failed(NOW, peer(1));
    assert_eq!(standings.k(&peer(2)), 6);
    standings.revoke(peer(3));
    assert_eq!([2, 3].map(|n| standings.k(&peer(n))), [5, 1]);
}

#[test]
fn agreements_with_too_many_partners_do_not_count() {
    let mut standings = Standings::default();
    let most = u16::try_from(MAX_PARTNERS).unwrap();
    for partner in 1..=most + 10 {
        standings.passed(NOW, peer(0), Some(peer(partner)));
    }
    assert_eq!(standings.k(&peer(0)), u32::from(most));
    standings.passed(NOW, peer(0), Some(peer(1)));
    pass(&mut standings, 0, 1);
    assert_eq!(standings.k(&peer(0)), u32::from(most) + 2);
}

#[test]
fn four_failures_in_a_row_ban_a_newcomer_and_five_a_worker_of_record() {
    let mut standings = Standings::default();
    pass(&mut standings, 2, 10_000);
    for _ in 0..3 {
        assert_eq!(standings.failed(NOW, peer(1)), None);
        assert_eq!(standings.failed(NOW, peer(2)), None);
    }
    let ban = Ban { until: NOW + BAN, reason: BanReason::Failures };
    assert_eq!(standings.failed(NOW, peer(1)), Some(ban));
    assert_eq!(standings.failed(NOW, peer(2)), None);
    assert_eq!(standings.failed(NOW, peer(2)), Some(ban));
    assert!(standings.is_banned(NOW, &peer(1)));
}

#[test]
fn whoever_was_banned_comes_back_as_a_newcomer() {
    let mut standings = Standings::default();
    pass(&mut standings, 1, 200);
    standings.ban(NOW, peer(1), DAY, BanReason::Equivocation);
    assert_eq!(standings.k(&peer(1)), 0);
    // A ban is not shortened, and what was computed before it neither helps nor harms.
    standings.ban(NOW, peer(1), DAY / 2, BanReason::Operator);
    standings.passed(NOW + DAY / 2, peer(1), None);
    for _ in 0..9 {
        assert_eq!(standings.failed(NOW + DAY / 2, peer(1)), None);
    }
    assert!(standings.is_banned(NOW + DAY / 2, &peer(1)));
    assert!(!standings.is_banned(NOW + DAY, &peer(1)));
    standings.passed(NOW + DAY, peer(1), None);
    let standing = standings.get(&peer(1)).unwrap();
    assert_eq!((standing.k(), standing.ban, standing.llr), (1, None, PASS));
}

#[test]
fn a_pardon_ends_a_ban_and_its_doubts() {
    let mut standings = Standings::default();
    for _ in 0..4 {
        standings.failed(NOW, peer(1));
    }
    standings.pardon(peer(1));
    assert!(!standings.is_banned(NOW, &peer(1)));
    assert_eq!(standings.get(&peer(1)).unwrap().llr, 0);
}

#[test]
fn the_operators_word_counts_as_a_record_but_not_against_a_ban() {
    let mut standings = Standings::default();
    standings.trust(peer(1));
    assert!(standings.is_trusted(&peer(1)));
    assert_eq!(standings.k(&peer(1)), K);
    pass(&mut standings, 1, K + 7);
    assert_eq!(standings.k(&peer(1)), K + 7);
    standings.ban(NOW, peer(1), DAY, BanReason::Collusion);
    assert!(!standings.is_established(&peer(1)));
    standings.pardon(peer(1));
    assert!(standings.is_established(&peer(1)));
    standings.distrust(peer(1));
    assert_eq!(standings.k(&peer(1)), 0);
}

#[test]
fn those_missed_least_make_room() {
    let mut standings = Standings::default();
    standings.trust(peer(0));
    standings.ban(NOW, peer(1), DAY, BanReason::Operator);
    pass(&mut standings, 2, 1);
    for n in 3..MAX_STANDINGS {
        let id = PeerId([(n >> 8) as u8, n as u8].repeat(16).try_into().unwrap());
        standings.restore(id, Standing { k: 9, ..Standing::default() });
    }
    assert_eq!(standings.iter().count(), MAX_STANDINGS);
    standings.passed(NOW, peer(700), None);
    assert_eq!(standings.iter().count(), MAX_STANDINGS);
    assert_eq!(standings.take_forgotten(), [peer(2)]);
    assert!(standings.is_trusted(&peer(0)) && standings.is_banned(NOW, &peer(1)));
    assert!(standings.take_changed().iter().all(|(id, _)| *id != peer(2)));
}

#[test]
fn what_is_stored_comes_back() {
    let mut standings = Standings::default();
    agree(&mut standings, 1, 2);
    standings.failed(NOW, peer(3));
    standings.ban(NOW, peer(4), DAY, BanReason::Collusion);
    standings.trust(peer(5));
    let mut back = Standings::default();
    for (id, standing) in standings.take_changed() {
        back.restore(id, cbor::decode(&cbor::encode(&standing)).unwrap());
    }
    assert_eq!(back.known, standings.known);
    assert_eq!(back.take_changed(), vec![]);
    assert_eq!(standings.take_changed(), vec![]);
}

#[derive(Clone, Debug)]
enum Step {
    Pass(u16),
    Agree(u16, u16),
    Fail(u16),
    Revoke(u16),
    Ban(u16),
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..5u16).prop_map(Step::Pass),
        8 => (0..5u16, 0..5u16).prop_map(|(a, b)| Step::Agree(a, b)),
        2 => (0..5u16).prop_map(Step::Fail),
        1 => (0..5u16).prop_map(Step::Revoke),
        1 => (0..5u16).prop_map(Step::Ban),
        1 => Just(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn revocable_passes_are_part_of_k_and_the_caught_are_in_nobodys_map(
        steps in proptest::collection::vec(step(), 0..200)
    ) {
        let mut standings = Standings::default();
        let mut now = NOW;
        for step in steps {
            let caught = match step {
                Step::Pass(n) => { standings.passed(now, peer(n), None); None }
                Step::Agree(a, b) => {
                    standings.passed(now, peer(a), Some(peer(b)));
                    standings.passed(now, peer(b), Some(peer(a)));
                    None
                }
                Step::Fail(n) => { standings.failed(now, peer(n)); Some(n) }
                Step::Revoke(n) => { standings.revoke(peer(n)); Some(n) }
                Step::Ban(n) => { standings.ban(now, peer(n), DAY, BanReason::Operator); Some(n) }
                Step::Wait => { now = now + DAY; None }
            };
            for (_, standing) in standings.iter() {
                prop_assert!(standing.soft.values().sum::<u32>() <= standing.k);
                prop_assert!((LEAST..CONVICTION).contains(&standing.llr));
                prop_assert!(standing.k == 0 || standing.ban.is_none());
                if let Some(caught) = caught {
                    prop_assert!(!standing.soft.contains_key(&peer(caught)));
                }
            }
        }
    }
}
