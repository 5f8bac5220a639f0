//! Plans, standings, the operator's list and evidence over the API.

use bayan_protocol::standing::{BAN, Ban, BanReason};

use super::*;
use crate::{api::types::PlanRequest, core::now};

fn plan(tasks: u64) -> PlanRequest {
    PlanRequest {
        tasks,
        trust: "adaptive".to_owned(),
        tolerance: None,
        assume_faulty: None,
        provisional: false,
        audience: Audience::Anyone,
        local: Local::Always,
        delegate: None,
    }
}

#[test]
fn a_plan_is_told_in_numbers_and_words() {
    let fixture = Fixture::new(true);
    let view = fixture.client.plan(&plan(50)).unwrap();
    assert_eq!((view.tasks, view.own, view.workers.len()), (50, true, 0));
    assert_eq!((view.bound, view.policy.as_str()), (None, "adaptive"));
    assert!(view.no_bound.is_some() && !view.words.is_empty(), "{view:?}");
    for (request, words) in [
        (plan(0), "1 to"),
        (PlanRequest { trust: "votes".to_owned(), ..plan(1) }, "no such policy"),
        (PlanRequest { tolerance: Some("2".to_owned()), ..plan(1) }, "to tolerate"),
        (PlanRequest { assume_faulty: Some("1".to_owned()), ..plan(1) }, "assume faulty"),
        (PlanRequest { audience: Audience::Named(Vec::new()), ..plan(1) }, "names 1 to"),
    ] {
        let text = refused(fixture.client.plan(&request), 422);
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn standings_have_bans_in_force_and_trust_is_given_and_taken() {
    let fixture = Fixture::new(true);
    let ban = |until| Some(Ban { until, reason: BanReason::Failures });
    let known = |ban| {
        let mut standing = Standing::default();
        (standing.k, standing.passed, standing.failed, standing.ban) = (7, 9, 2, ban);
        standing
    };
    fixture.script().standings = vec![
        (PeerId([3; 32]), known(None)),
        (PeerId([4; 32]), known(ban(now() + BAN))),
        (PeerId([5; 32]), known(ban(Timestamp(1)))),
    ];
    let standings = fixture.client.standings().unwrap();
    assert_eq!((standings[0].k, standings[0].passed, standings[0].failed), (7, 9, 2));
    assert_eq!(standings[1].ban.map(|ban| ban.reason), Some(BanReason::Failures));
    assert_eq!(standings[2].ban, None, "a ban that has run out is none");

    fixture.client.trust(PeerId([3; 32])).unwrap();
    fixture.client.distrust(PeerId([3; 32])).unwrap();
    assert_eq!(fixture.script().orders, ["trust", "trust"]);
    refused(fixture.client.trust(peer_view().peer), 422);
    let wrong = fixture.get("/v1/trust/xyz");
    assert!(wrong.starts_with("HTTP/1.1 405"), "{wrong}");
}

#[test]
fn evidence_that_is_not_there_is_not_found() {
    let fixture = Fixture::new(true);
    assert_eq!(fixture.client.evidence().unwrap(), []);
    refused(fixture.client.evidence_file(&Hash([1; 32])), 404);
}

#[test]
fn a_tolerance_is_for_the_adaptive_policy_and_secrets_are_for_somebody() {
    let fixture = Fixture::new(true);
    let module = fixture.client.upload(&module("")).unwrap().hash;
    let range = InputsRequest::Range { from: 0, to: 3 };
    let job = JobRequest::new("test", module, range);
    let with = |tolerance: &str, trust: &str| JobRequest {
        tolerance: Some(tolerance.to_owned()),
        trust: trust.to_owned(),
        ..job.clone()
    };
    let text = refused(fixture.client.submit(&with("0.05", "vote:2")), 422);
    assert!(text.contains("only the policy adaptive"), "{text}");
    fixture.client.submit(&with("0.05", "adaptive")).unwrap();
    assert_eq!(fixture.script().submitted.len(), 1);
    let secret = JobRequest { confidential: true, ..job.clone() };
    let text = refused(fixture.client.submit(&secret), 422);
    assert!(text.contains("says who may compute it"), "{text}");
    let named = JobRequest { audience: Audience::Named(Vec::new()), ..job };
    let text = refused(fixture.client.submit(&named), 422);
    assert!(text.contains("names 1 to"), "{text}");
}
