//! What a submitter says about trust, as text.

use alloc::{
    borrow::ToOwned as _,
    string::{String, ToString as _},
};

use super::Assumed;
use crate::verify::{BadPolicy, MILLION, Policy, parse_share};

/// How results are to be accepted, and by which assumptions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// The policy; its share of checked strangers is still to be set by the tolerance, if there is one.
    pub policy: Policy,
    /// Wrong results that the job can bear, parts of a million; for the adaptive policy alone.
    pub tolerance: Option<u32>,
    /// What is taken for granted of workers.
    pub assumed: Assumed,
}

/// Text that gives no rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRules {
    /// No policy.
    #[error(transparent)]
    Policy(#[from] BadPolicy),
    /// No share.
    #[error(
        "'{0}' is no share of wrong results to tolerate; give one between 0 and 1, such as 0.01"
    )]
    Tolerance(String),
    /// A tolerance with a policy that has no use for it.
    #[error(
        "only the policy adaptive checks by what a job tolerates, not {0}; leave out the tolerance or the policy"
    )]
    NotAdaptive(String),
    /// No share of workers.
    #[error(
        "'{0}' is no share of workers to assume faulty; give one above 0 and below 1, such as 0.2"
    )]
    Faulty(String),
}

impl Rules {
    /// Reads a policy, and perhaps the tolerated share of wrong results and the assumed share of faulty
    /// workers, each in decimal.
    pub fn parse(
        trust: &str,
        tolerance: Option<&str>,
        faulty: Option<&str>,
    ) -> Result<Self, BadRules> {
        let mut policy: Policy = trust.parse()?;
        let mut assumed = Assumed::default();
        if let Some(text) = faulty {
            let parts = parse_share(text).filter(|parts| *parts < MILLION);
            let parts = parts.ok_or_else(|| BadRules::Faulty(text.to_owned()))?;
            assumed.faulty = f64::from(parts) / f64::from(MILLION);
            if let Policy::Credibility { faulty, .. } = &mut policy {
                *faulty = parts;
            }
        }
        let share = |text: &str| {
            let parts = parse_share(text).filter(|parts| *parts < MILLION);
            parts.ok_or_else(|| BadRules::Tolerance(text.to_owned()))
        };
        let tolerance = tolerance.map(share).transpose()?;
        if tolerance.is_some() && !matches!(policy, Policy::Adaptive(_)) {
            return Err(BadRules::NotAdaptive(policy.to_string()));
        }
        Ok(Self { policy, tolerance, assumed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tolerance_is_for_the_adaptive_policy() {
        let rules = Rules::parse("adaptive", Some("0.05"), None).unwrap();
        assert_eq!((rules.policy, rules.tolerance), (Policy::default(), Some(50_000)));
        let refused = Rules::parse("vote:2", Some("0.05"), None).unwrap_err().to_string();
        assert!(refused.contains("not vote:2"), "{refused}");
        for bad in ["", "x", "0", "1", "-0.1", "nan", "5%"] {
            let error = Rules::parse("adaptive", Some(bad), None);
            assert_eq!(error, Err(BadRules::Tolerance(bad.to_owned())), "{bad}");
        }
    }

    #[test]
    fn the_assumed_share_reaches_the_policy_that_works_by_it() {
        let rules = Rules::parse("credibility:0.01", None, Some("0.3")).unwrap();
        assert_eq!(rules.policy, Policy::Credibility { error: 10_000, faulty: 300_000 });
        assert!((rules.assumed.faulty - 0.3).abs() < 1e-9);
        for bad in ["", "x", "0", "1", "1.5"] {
            let error = Rules::parse("adaptive", None, Some(bad));
            assert_eq!(error, Err(BadRules::Faulty(bad.to_owned())), "{bad}");
        }
        assert!(matches!(Rules::parse("trust", None, None), Err(BadRules::Policy(_))));
    }
}
