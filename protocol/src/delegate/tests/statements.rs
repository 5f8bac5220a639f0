//! Signed statements, and the submitter's side of a hand-over.

use super::*;
use crate::limits::HANDBACK;

fn terms() -> Terms {
    Terms { job: JOB, submitter: id(THEM), delegate: id(ME) }
}

fn results(count: u8) -> Vec<Vouched> {
    (0..count).map(|number| vouched(TaskId([number; 32]))).collect()
}

#[test]
fn every_result_of_a_statement_is_proven_alone() {
    for count in [1, 2, 3, 64] {
        let signature = terms().sign(&key(ME), &results(count)).unwrap();
        let statement = Statement::check(terms(), results(count), signature).unwrap();
        for at in 0..usize::from(count) {
            let voucher = statement.voucher(at).unwrap();
            assert_eq!(voucher.check(), Ok(()));
            let mut other = voucher.clone();
            other.outcome.fuel += 1;
            assert!(other.check().is_err());
            let mut other = voucher;
            other.terms.job = JobId([8; 32]);
            assert!(other.check().is_err());
        }
        assert_eq!(statement.voucher(usize::from(count)), None);
    }
}

#[test]
fn statements_of_others_and_about_others_are_refused() {
    let good = terms().sign(&key(ME), &results(3)).unwrap();
    let bad = |terms, results, signature| Statement::check(terms, results, signature).unwrap_err();
    let foreign = terms().sign(&key(THEM), &results(3)).unwrap();
    assert_eq!(bad(terms(), results(3), foreign), StatementError::Signature);
    assert_eq!(bad(terms(), results(2), good), StatementError::Signature);
    let other = Terms { submitter: id(5), ..terms() };
    assert_eq!(bad(other, results(3), good), StatementError::Signature);
    let twice = vec![vouched(TaskId([1; 32])); 2];
    let signed = terms().sign(&key(ME), &twice).unwrap();
    assert_eq!(bad(terms(), twice, signed), StatementError::Count);
    assert_eq!(bad(terms(), Vec::new(), good), StatementError::Count);
    let many = terms().sign(&key(ME), &results(65)).unwrap();
    assert_eq!(bad(terms(), results(65), many), StatementError::Count);
    let vague = vec![Vouched { status: Status::HostFault, ..vouched(TaskId([1; 32])) }];
    let signed = terms().sign(&key(ME), &vague).unwrap();
    assert_eq!(bad(terms(), vague, signed), StatementError::Inconclusive);
    assert_eq!(terms().sign(&key(ME), &[]), None);
}

fn said(upto: u64, left: u64) -> Entrusted {
    Entrusted { job: JOB, reason: None, upto, left }
}

const NOW: Timestamp = Timestamp(1_000_000_000);

#[test]
fn what_is_settled_is_told_from_where_the_delegate_is() {
    let mut handover = Handover::new(id(ME));
    assert_eq!(handover.tells_from(NOW, 5), None, "it is not there");
    handover.set_here(true);
    assert_eq!(handover.tells_from(NOW, 5), None, "it has not answered");
    assert!(handover.answered(&said(3, 0), 10));
    assert_eq!(handover.tells_from(NOW, 5), Some(3));
    handover.tells(NOW, 10, Some(5), true);
    assert_eq!(handover.tells_from(NOW, 70), None, "what was told is not answered");
    assert!(!handover.answered(&said(10, 0), 12));
    assert_eq!(handover.tells_from(NOW, 6), None, "a moment later there may be more");
    assert_eq!(handover.tells_from(NOW, 70), Some(10), "there is");
    assert_eq!(handover.tells_from(NOW + Duration::from_secs(1), 6), Some(10));
    handover.set_here(false);
    handover.set_here(true);
    handover.answered(&said(20, 0), 12);
    let later = NOW + Duration::from_secs(2);
    assert_eq!(handover.tells_from(later, 6), Some(0), "it knows what was lost here");
}

#[test]
fn a_submitter_that_is_back_waits_for_what_became_final_but_not_for_ever() {
    let restored = |answer| {
        let mut handover = Handover::new(id(ME));
        handover.restore(NOW, answer, 0);
        handover
    };
    assert!(!restored(Answer::Asked).is_awaited());
    assert!(!restored(Answer::Refused(Reason::Busy)).is_awaited());
    let mut handover = restored(Answer::Accepted);
    assert!(handover.is_awaited() && !handover.stops_waiting(NOW, false));
    assert!(handover.stops_waiting(NOW + HANDBACK, false) && !handover.is_awaited());

    let mut handover = restored(Answer::Accepted);
    handover.set_here(true);
    handover.answered(&said(0, 100), 0);
    let soon = NOW + HANDBACK / 2;
    handover.vouched(soon, 36, true);
    assert!(!handover.stops_waiting(NOW + HANDBACK, false), "it is telling");
    let mut talker = restored(Answer::Accepted);
    talker.set_here(true);
    talker.answered(&said(0, 100), 0);
    talker.vouched(soon, 1, false);
    assert!(talker.stops_waiting(NOW + HANDBACK, false), "it tells nothing new");
    handover.vouched(soon, 0, true);
    assert!(!handover.stops_waiting(soon, true), "an output is on its way");
    assert!(handover.stops_waiting(soon, false));
    assert!(!handover.stops_waiting(soon, false), "it is said once");

    let mut handover = restored(Answer::Accepted);
    handover.set_here(true);
    let refused = Entrusted { reason: Some(Reason::NotAccepted), ..said(0, 0) };
    assert!(handover.answered(&refused, 0));
    assert!(!handover.is_awaited(), "there is nothing to wait for");
}
