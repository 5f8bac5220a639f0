//! What was damaged in a peer's directory when it was opened, in words for its owner.

use std::collections::BTreeMap;

use bayan_protocol::record::Key;
use bayan_store::{Damage, Recovery, Salvage};

/// One line for each thing that was found; none if all was in order. `unreadable` records are in the
/// database and of a form that this program does not know.
pub fn in_words(recovery: &Recovery, unreadable: u64) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(salvage) = &recovery.salvage {
        lines.push(salvaged(salvage));
    }
    if let Some(Damage { path, what, .. }) = &recovery.damage {
        lines.push(format!(
            "the journal is damaged: {what}; what was noted after that is lost ({} bytes); kept as {}",
            recovery.dropped_bytes,
            path.display()
        ));
    }
    if recovery.relisted {
        lines.push(
            "the list of records was missing or damaged and has been made anew; nothing is lost"
                .to_owned(),
        );
    }
    if unreadable > 0 {
        lines.push(format!(
            "{unreadable} stored records are of a form that this program does not know; they are kept, and not used"
        ));
    }
    lines
}

fn salvaged(salvage: &Salvage) -> String {
    let Salvage { path, what, kept, lost, complete } = salvage;
    let mut lost = lost_in_words(lost);
    if !complete {
        lost.push_str(", and there may have been more");
    }
    format!(
        "the stored records are damaged: the database {what}; it is kept as {}; {kept} records were saved from it, {lost}",
        path.display()
    )
}

fn lost_in_words(lost: &BTreeMap<u8, u64>) -> String {
    let total: u64 = lost.values().sum();
    if total == 0 {
        return "none is lost".to_owned();
    }
    let kinds = lost.iter().map(|(kind, count)| format!("{count} {}", Key::kind_in_words(*kind)));
    format!("{total} are lost ({})", kinds.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_damage_is_a_line_that_says_what_is_lost() {
        assert!(in_words(&Recovery { dropped_bytes: 3, ..Recovery::default() }, 0).is_empty());
        let salvage = Salvage {
            path: "records.redb.damaged-1".into(),
            what: "is empty".to_owned(),
            kept: 7,
            lost: BTreeMap::new(),
            complete: true,
        };
        let lines = |salvage: &Salvage| {
            let recovery = Recovery { salvage: Some(salvage.clone()), ..Recovery::default() };
            in_words(&recovery, 2)
        };
        let [first, second] = &lines(&salvage)[..] else { panic!("two lines") };
        assert!(first.contains("damaged-1") && first.contains("7 records"), "{first}");
        assert!(first.ends_with("none is lost"), "{first}");
        assert!(second.starts_with("2 stored records"), "{second}");
        let lost = BTreeMap::from([(b'v', 3), (b's', 1)]);
        let worse = lines(&Salvage { lost, complete: false, ..salvage });
        assert!(worse[0].contains("4 are lost (1 decisions"), "{}", worse[0]);
        assert!(worse[0].contains("3 votes") && worse[0].ends_with("more"), "{}", worse[0]);
    }
}
