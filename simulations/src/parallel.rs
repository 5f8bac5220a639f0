//! Many independent runs on all cores, in any order, with the results in the order of the questions.

use std::{
    num::NonZero,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// Answers every question; `done` is called after each answer, from any thread.
pub fn map<Q: Sync, A: Send>(
    questions: &[Q],
    answer: impl Fn(&Q) -> A + Sync,
    done: impl Fn(&A) + Sync,
) -> Vec<A> {
    let next = AtomicUsize::new(0);
    let answers = Mutex::new(questions.iter().map(|_| None).collect::<Vec<Option<A>>>());
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        for _ in 0..cores.min(questions.len()) {
            scope.spawn(|| {
                while let Some((at, question)) = take(&next, questions) {
                    let one = answer(question);
                    done(&one);
                    answers.lock().unwrap_or_else(PoisonError::into_inner)[at] = Some(one);
                }
            });
        }
    });
    let answers = answers.into_inner().unwrap_or_else(PoisonError::into_inner);
    answers.into_iter().flatten().collect()
}

fn take<'a, Q>(next: &AtomicUsize, questions: &'a [Q]) -> Option<(usize, &'a Q)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    questions.get(at).map(|question| (at, question))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_in_the_order_of_the_questions() {
        let questions: Vec<u64> = (0..100).collect();
        let answers = map(&questions, |question| question * question, |_| {});
        assert_eq!(answers, questions.iter().map(|one| one * one).collect::<Vec<_>>());
    }
}
