//! The small size of every paper and attack, beside the committed baseline: a change that makes an
//! error or a cost worse by more than its noise is shown, and fails.
//!
//! A change that is meant to be is taken over with the command that the failure names.

use std::path::Path;

use bayan_simulations::{
    attack, paper,
    report::{self, Answer},
    study::{Size, Study},
};

/// As the baseline was made.
const SEED: u64 = 1;

fn hold(kind: &str, name: &str, run: impl FnOnce(&Study) -> Answer) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("results/baseline").join(name);
    let before = report::read(&folder.join("table.csv")).expect("the baseline");
    let answer = run(&Study::new(SEED, Size::Small));
    let after = answer.rows().expect("a table");
    let changes = report::compare(&before, &after);
    for change in &changes {
        println!("{change:?}");
    }
    let worse: Vec<&str> =
        changes.iter().filter(|change| change.worse).map(|change| change.key.as_str()).collect();
    assert!(
        worse.is_empty(),
        "worse than the baseline: {worse:#?}\nif that is meant to be: cargo run --bin bayan-sim -- \
         {kind} {name} --small --table --seed {SEED} --out simulations/results/baseline"
    );
}

fn paper(name: paper::Name) {
    hold("paper", name.word(), |study| name.run(study));
}

fn attack(name: attack::Name) {
    hold("attack", name.word(), |study| name.run(study));
}

#[test]
fn paper_voting() {
    paper(paper::Name::Voting);
}

#[test]
fn paper_spot_check() {
    paper(paper::Name::SpotCheck);
}

#[test]
fn paper_credibility() {
    paper(paper::Name::Credibility);
}

#[test]
fn paper_adaptive() {
    paper(paper::Name::Adaptive);
}

#[test]
fn papers_of_bayanihan() {
    paper(paper::Name::BayanihanFaults);
    paper(paper::Name::BayanihanSpeedup);
    paper(paper::Name::BayanihanVolunteerServer);
}

#[test]
fn papers_by_calculation() {
    paper(paper::Name::CpuTorrent);
    paper(paper::Name::Planet);
}

#[test]
fn attacks() {
    attack::Name::ALL.into_iter().for_each(attack);
}

#[test]
fn what_is_worse_than_the_baseline_is_noticed() {
    // The judge must be able to fail: the same run under a policy that checks nothing.
    let name = attack::Name::Whitewashing;
    let rows = name.run(&Study::new(SEED, Size::Small)).rows().expect("a table");
    let spoilt = rows.iter().map(|(key, row)| {
        let mut row = row.clone();
        if key.contains("error") {
            row.found.value += 0.01;
        }
        (key.clone(), row)
    });
    let changes = report::compare(&rows, &spoilt.collect());
    assert!(changes.iter().any(|change| change.worse && change.key.contains("error")));
}
