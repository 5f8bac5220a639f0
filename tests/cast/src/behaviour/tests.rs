use super::*;

const APP: Hash = Hash([1; 32]);

fn task(number: u16) -> TaskId {
    TaskId(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

fn honest(number: u16) -> Claim {
    let output = format!("the output of {number}").into_bytes();
    Claim { status: Status::Exited(0), output, fuel: 1000 + u64::from(number) }
}

fn member(role: &str, number: u32) -> Conduct {
    Conduct::new(role.parse().expect("a role"), identity(7, number, 0))
}

/// What a member claims of a task, taken and computed.
fn plays(member: &mut Conduct, board: &mut Board, number: u16) -> Option<Claim> {
    match member.take(board, &task(number), &APP) {
        Need::Answer(claim) => Some(claim),
        Need::Nothing => None,
        Need::Computed | Need::ComputedOn(_) => {
            Some(member.claim(board, &task(number), &APP, &honest(number)))
        }
    }
}

fn wrong(member: &mut Conduct, board: &mut Board, tasks: u16) -> Vec<u16> {
    (0..tasks).filter(|n| plays(member, board, *n).is_some_and(|c| c != honest(*n))).collect()
}

fn count(role: &str, tasks: u16) -> usize {
    wrong(&mut member(role, 1), &mut Board::default(), tasks).len()
}

#[test]
fn each_role_is_wrong_as_often_as_it_says() {
    for role in ["honest", "commit-only", "other-reveal", "equivocate", "confirmer:a", "lazy:a"] {
        assert_eq!(count(role, 100), 0, "{role}");
    }
    for role in ["always", "ring:a", "breaker:a", "burner:a", "fuel:100", "data", "engine:arm"] {
        assert_eq!(count(role, 100), 100, "{role}");
    }
    assert_eq!(count("after:30", 100), 70);
    assert_eq!(count("lazy", 100), 99, "all but the first");
    assert!((60..140).contains(&count("rate:0.1", 1000)));
    assert!((400..600).contains(&count("after:0:0.5", 1000)));
    assert_eq!(plays(&mut member("silent", 1), &mut Board::default(), 1), None);
}

#[test]
fn who_shares_a_lie_claims_the_same_and_nobody_else_does() {
    let claims = |role: &str, number: u32| {
        let (mut one, mut board) = (member(role, number), Board::default());
        (0..50).map(|n| plays(&mut one, &mut board, n)).collect::<Vec<_>>()
    };
    for role in ["ring:a", "ring:a:0.5", "breaker:a", "engine:arm", "data:old"] {
        assert_eq!(claims(role, 1), claims(role, 2), "{role}");
    }
    for role in ["always", "rate:0.5", "data"] {
        assert_ne!(claims(role, 1), claims(role, 2), "{role}");
        assert_eq!(claims(role, 1), claims(role, 1), "{role}");
    }
    assert_ne!(claims("ring:a", 1), claims("ring:b", 1));
    assert_ne!(claims("engine:arm", 1), claims("engine:x86", 1));
}

#[test]
fn confirmers_are_wrong_where_a_burner_of_theirs_took_part() {
    let mut board = Board::default();
    let (mut burner, mut mate) = (member("burner:a", 1), member("confirmer:a", 2));
    let mut stranger = member("confirmer:b", 3);
    let burned = plays(&mut burner, &mut board, 1);
    assert_eq!(plays(&mut mate, &mut board, 1), burned);
    assert_eq!(plays(&mut stranger, &mut board, 1), Some(honest(1)));
    assert_eq!(plays(&mut mate, &mut board, 2), Some(honest(2)));
}

#[test]
fn a_confirmer_learns_of_the_burner_while_it_computes() {
    let mut board = Board::default();
    let (mut burner, mut mate) = (member("burner:a", 1), member("confirmer:a", 2));
    assert_eq!(mate.take(&mut board, &task(1), &APP), Need::Computed);
    let burned = plays(&mut burner, &mut board, 1);
    assert_eq!(Some(mate.claim(&mut board, &task(1), &APP, &honest(1))), burned);
}

#[test]
fn a_copycat_computes_only_what_no_mate_has_answered() {
    let mut board = Board::default();
    let (mut first, mut second) = (member("lazy:a", 1), member("lazy:a", 2));
    assert_eq!(first.take(&mut board, &task(1), &APP), Need::Computed);
    let claim = first.claim(&mut board, &task(1), &APP, &honest(1));
    assert_eq!(second.take(&mut board, &task(1), &APP), Need::Answer(claim));
    assert_eq!(member("lazy:b", 3).take(&mut board, &task(1), &APP), Need::Computed);
}

#[test]
fn an_engine_is_wrong_about_its_module_alone() {
    assert_eq!(count("engine:arm:0101", 10), 10);
    assert_eq!(count("engine:arm:02", 10), 0);
}

#[test]
fn inflated_fuel_comes_with_the_right_output() {
    let claim = plays(&mut member("fuel:100", 1), &mut Board::default(), 0).expect("a claim");
    assert_eq!(claim, Claim { fuel: 1100, ..honest(0) });
    let least = Deed::Fuel(0).apply(&task(0), &honest(0));
    assert_eq!(least.fuel, 1001);
}

#[test]
fn what_could_not_be_computed_is_no_lie() {
    let failed = Claim { status: Status::HostFault, output: Vec::new(), fuel: 0 };
    let mut liar = member("always", 1);
    assert_eq!(liar.claim(&mut Board::default(), &task(1), &APP, &failed), failed);
}

#[test]
fn a_lie_differs_from_the_truth_however_short_that_is() {
    for len in [0, 1, 7, 8, 9, 100] {
        let right = vec![0; len];
        for number in 0..100 {
            let wrong = Lie::ring("a").bytes(&task(number), &right);
            assert_ne!(wrong, right);
            assert_eq!(wrong.len(), len.max(8));
        }
    }
    let right = honest(1).outcome();
    assert_ne!(Lie::ring("a").outcome(&task(1), &right).output, right.output);
}

#[test]
fn identities_come_and_go_after_so_many_results() {
    let mut washed = member("whitewash:10", 1);
    assert_eq!(washed.unserved(), None, "it has never been served");
    assert_eq!(washed.sent(9), None);
    assert_eq!(washed.sent(1), Some(Turn::Rejoin));
    plays(&mut washed, &mut Board::default(), 1);
    assert_eq!(washed.unserved(), Some(Turn::Rejoin));
    assert_eq!(member("vanish:3", 1).sent(5), Some(Turn::Leave));
    assert_eq!(member("always", 1).sent(1000), None);
    assert_ne!(identity(7, 1, 0), identity(7, 1, 1));
    assert_ne!(identity(7, 1, 0), identity(7, 2, 0));
}

#[test]
fn a_board_forgets_the_oldest() {
    let mut board = Board::default();
    for number in 0..=u32::try_from(MAX_BOARD).expect("few") {
        board.burn("a", &TaskId(*blake3::hash(&number.to_le_bytes()).as_bytes()));
    }
    assert_eq!(board.burned.len(), MAX_BOARD);
}
