//! Following a job to its end: progress to the screen, results to a sink, and on to the next peer
//! if the one that was followed goes away.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, SyncSender},
    },
    thread,
};

use anyhow::{Context as _, anyhow};
use bayan_protocol::{
    id::{JobId, TaskId},
    record::JobState,
    source::JobView,
    verify::State,
};
use serde_json::{Value, json};

use super::{
    screen::{self, Screen},
    session::Session,
    signals,
    sink::Sink,
    text,
};
use crate::{
    api::types::TaskResult,
    client::{Client, ClientError},
};

/// Updates that wait to be looked at.
const QUEUE: usize = 16;
/// Results asked for at once.
const PAGE: usize = 256;
/// Failing tasks whose logs are shown, and results taken back that are named one by one.
const SHOWN: usize = 3;
/// Lines of a log that are shown.
const LOG_LINES: usize = 10;

/// What happens while a job is followed.
enum Update {
    /// From the watcher with this number.
    View(u32, Result<JobView, ClientError>),
    /// The user wants to stop.
    Interrupt,
}

/// How following ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The job is over and its results are in the sink.
    Over(Box<JobView>),
    /// The user interrupted.
    Interrupted,
}

/// Something the user did to end it, told once and for all.
#[derive(Clone)]
pub(super) struct Interrupts {
    flag: Arc<AtomicBool>,
    sender: SyncSender<Update>,
}

impl Interrupts {
    /// Whether it happened.
    pub(super) fn happened(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }
}

/// Follows one job after the other.
pub(super) struct Follower {
    updates: Receiver<Update>,
    interrupts: Interrupts,
    watchers: u32,
    /// Failing tasks, the first few.
    failures: Vec<TaskResult>,
    unsettled_failures: u64,
    /// Tasks with a result that was shown and may still be taken back.
    shown: HashSet<TaskId>,
    /// Tasks of the page being taken that the sink has had the last word on.
    put: HashSet<TaskId>,
}

impl Follower {
    /// Takes Ctrl-C over.
    pub(super) fn new() -> anyhow::Result<Self> {
        let (sender, updates) = mpsc::sync_channel(QUEUE);
        let interrupts = Interrupts { flag: Arc::new(AtomicBool::new(false)), sender };
        let told = interrupts.clone();
        signals::on_interrupt(move || {
            told.flag.store(true, Ordering::Relaxed);
            // Fails when nobody waits for an update: the flag is enough then.
            let _ = told.sender.try_send(Update::Interrupt);
        })?;
        Ok(Self {
            updates,
            interrupts,
            watchers: 0,
            failures: Vec::new(),
            unsettled_failures: 0,
            shown: HashSet::new(),
            put: HashSet::new(),
        })
    }

    /// Whether the user wants to stop.
    pub(super) fn interrupts(&self) -> &Interrupts {
        &self.interrupts
    }

    /// Follows `job` until it is over or the user interrupts.
    pub(super) fn follow(
        &mut self,
        session: &mut Session,
        job: JobId,
        sink: &mut dyn Sink,
        screen: &mut Screen,
    ) -> anyhow::Result<Ended> {
        let mut taken = 0;
        loop {
            match self.watch(session.client(), job, &mut taken, sink, screen) {
                Err(error) if is_gone(&error) && !self.interrupts.happened() => {
                    screen.say(&format!("{}; going on without it", text::error(&error)));
                    session.recover()?;
                }
                Err(error) if is_gone(&error) => return Ok(Ended::Interrupted),
                ended => return ended,
            }
        }
    }

    /// Takes every change that the job's results have had since the last call.
    fn collect(
        &mut self,
        client: &Client,
        job: JobId,
        taken: &mut u64,
        sink: &mut dyn Sink,
        screen: &Screen,
    ) -> anyhow::Result<()> {
        while !self.interrupts.happened() {
            let page = client.results(job, *taken, PAGE)?;
            if page.results.is_empty() {
                break;
            }
            let mut back = Vec::new();
            for result in page.results {
                if self.take(&result, client, sink, screen)? {
                    back.push(taken_back(&result));
                }
            }
            *taken = page.next;
            self.put.clear();
            for words in back.iter().take(SHOWN) {
                screen.say(words);
            }
            if let Some(more) = back.len().checked_sub(SHOWN).filter(|more| *more > 0) {
                screen.say(&format!("and {more} more results were taken back"));
            }
            sink.flush()?;
        }
        Ok(())
    }

    /// Takes one change; whether something that people have seen was taken back.
    fn take(
        &mut self,
        result: &TaskResult,
        client: &Client,
        sink: &mut dyn Sink,
        screen: &Screen,
    ) -> anyhow::Result<bool> {
        let (mut event, mut back) = ("result", false);
        if stands(result.state) {
            // A page that could not be taken to its end comes again from its beginning.
            if self.put.contains(&result.task) {
                return Ok(false);
            }
            sink.put(result, client)?;
            self.put.insert(result.task);
            self.shown.remove(&result.task);
            self.note_failure(result);
        } else if result.state.has_outcome() {
            sink.show(result, client)?;
            self.shown.insert(result.task);
        } else {
            sink.take_back(result)?;
            back = self.shown.remove(&result.task);
            event = "taken_back";
        }
        if screen.is_json() {
            screen.event(&json!({ "event": event, "result": shown(result, sink.is_bare()) }))?;
        }
        Ok(back)
    }

    fn note_failure(&mut self, result: &TaskResult) {
        if !result.status.is_some_and(|status| status.is_success()) && self.failures.len() < SHOWN {
            self.failures.push(result.clone());
        }
    }

    /// Takes what has a result and will be checked no further, or not waited for: of a job that ended
    /// early, or that is not over. With `all`, what stands as well. How many results that were.
    pub(super) fn take_rest(
        &mut self,
        client: &Client,
        job: JobId,
        sink: &mut dyn Sink,
        all: bool,
    ) -> anyhow::Result<u64> {
        let (mut after, mut put) = (0, HashSet::new());
        while !self.interrupts.happened() {
            let page = client.results(job, after, PAGE)?;
            if page.results.is_empty() {
                break;
            }
            after = page.next;
            for result in page.results {
                let wanted = match stands(result.state) {
                    true => all,
                    false => result.state.has_outcome(),
                };
                // What changes meanwhile comes twice; it is taken as it came first.
                if wanted && put.insert(result.task) {
                    sink.put(&result, client)?;
                    self.note_failure(&result);
                    let failed = !result.status.is_some_and(|status| status.is_success());
                    self.unsettled_failures += u64::from(failed && !stands(result.state));
                }
            }
            sink.flush()?;
        }
        Ok(put.len() as u64)
    }

    /// Tasks that ended without success and of which nothing is final: the job does not count them.
    pub(super) fn unsettled_failures(&self) -> u64 {
        self.unsettled_failures
    }

    fn watch(
        &mut self,
        client: &Client,
        job: JobId,
        taken: &mut u64,
        sink: &mut dyn Sink,
        screen: &mut Screen,
    ) -> anyhow::Result<Ended> {
        self.start_watcher(client.clone(), job)?;
        loop {
            let view = match self
                .updates
                .recv()
                .map_err(|_| anyhow!("the thread that follows the job failed"))?
            {
                Update::Interrupt => return Ok(Ended::Interrupted),
                Update::View(watcher, _) if watcher != self.watchers => continue,
                Update::View(_, view) => view?,
            };
            screen.progress(&view)?;
            let over = view.state != JobState::Running;
            self.collect(client, job, taken, sink, screen)?;
            if over && screen::accepted(&view) > screen::settled(&view) {
                self.take_rest(client, job, sink, false)?;
            }
            if self.interrupts.happened() {
                return Ok(Ended::Interrupted);
            }
            if over {
                return Ok(Ended::Over(Box::new(view)));
            }
        }
    }

    /// Follows the events from a thread, which ends with them or with this.
    fn start_watcher(&mut self, client: Client, job: JobId) -> anyhow::Result<()> {
        self.watchers += 1;
        let (watcher, sender) = (self.watchers, self.interrupts.sender.clone());
        let watch = move || match client.events(job) {
            Ok(events) => {
                for view in events {
                    if sender.send(Update::View(watcher, view)).is_err() {
                        return;
                    }
                }
            }
            Err(error) => {
                let _ = sender.send(Update::View(watcher, Err(error)));
            }
        };
        thread::Builder::new()
            .name("bayan-follow".to_owned())
            .spawn(watch)
            .context("cannot follow the job")?;
        Ok(())
    }

    /// The failing tasks seen, in words, with the ends of their logs.
    pub(super) fn failures(&self) -> Vec<String> {
        self.failures.iter().map(failure).collect()
    }
}

/// The end of what the task's guest wrote to standard error.
pub(super) fn log(result: &TaskResult) -> &str {
    result.by.iter().find(|voucher| voucher.agrees).map_or("", |voucher| voucher.log.as_str())
}

/// Whether nothing will change any more.
fn stands(state: State) -> bool {
    matches!(state, State::Final | State::GivenUp)
}

/// A change as programs are told it: whole, or without outputs and proofs where those go elsewhere.
fn shown(result: &TaskResult, bare: bool) -> Value {
    if !bare {
        return json!(result);
    }
    json!({
        "places": result.places,
        "task": result.task,
        "state": result.state,
        "basis": result.basis,
        "status": result.status,
        "output": result.output,
        "verified": result.verified,
    })
}

fn taken_back(result: &TaskResult) -> String {
    let place = result.places.first().copied().unwrap_or_default();
    format!("input {place}: {}", result.verified)
}

fn failure(result: &TaskResult) -> String {
    let place = result.places.first().copied().unwrap_or_default();
    let mut words = format!("input {place}: {}", text::status(result.status));
    let lines: Vec<&str> = log(result).lines().collect();
    for line in &lines[lines.len().saturating_sub(LOG_LINES)..] {
        words.push_str("\n    ");
        words.push_str(&text::printable(line, 200));
    }
    words
}

/// Whether an error says that the peer is gone.
pub(super) fn is_gone(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ClientError>().is_some_and(ClientError::is_gone)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use bayan_protocol::{id::Hash, task::Status, verify::Basis};

    use super::*;

    /// Writes down what it is told.
    #[derive(Default)]
    struct Told(Vec<&'static str>);

    impl Sink for Told {
        fn show(&mut self, _: &TaskResult, _: &Client) -> anyhow::Result<()> {
            self.0.push("show");
            Ok(())
        }

        fn take_back(&mut self, _: &TaskResult) -> anyhow::Result<()> {
            self.0.push("take back");
            Ok(())
        }

        fn put(&mut self, _: &TaskResult, _: &Client) -> anyhow::Result<()> {
            self.0.push("put");
            Ok(())
        }

        fn flush(&mut self) -> anyhow::Result<()> {
            Ok(())
        }

        fn finish(&mut self) -> anyhow::Result<()> {
            Ok(())
        }

        fn place(&self) -> Option<PathBuf> {
            None
        }
    }

    fn follower() -> Follower {
        let (sender, updates) = mpsc::sync_channel(QUEUE);
        Follower {
            updates,
            interrupts: Interrupts { flag: Arc::default(), sender },
            watchers: 0,
            failures: Vec::new(),
            unsettled_failures: 0,
            shown: HashSet::new(),
            put: HashSet::new(),
        }
    }

    fn result(state: State, status: Option<Status>) -> TaskResult {
        TaskResult {
            places: vec![3],
            task: TaskId([1; 32]),
            state,
            basis: Some(Basis::Word),
            status,
            fuel: 1,
            output: Some(Hash([2; 32])),
            output_len: 1,
            inline: None,
            verified: "taken back: two peers differ".to_owned(),
            by: Vec::new(),
            delegate: None,
        }
    }

    #[test]
    fn every_change_reaches_the_sink_and_only_what_was_seen_is_said_to_be_taken_back() {
        let (mut follower, mut sink) = (follower(), Told::default());
        let screen = Screen::new(false, true);
        let client = Client::new(([127, 0, 0, 1], 1).into(), "");
        let well = Some(Status::Exited(0));
        let mut take = |state, status| {
            follower.take(&result(state, status), &client, &mut sink, &screen).unwrap()
        };
        assert!(!take(State::Open, None), "nobody saw anything of it");
        assert!(!take(State::Provisional, well));
        assert!(take(State::Disputed, None));
        assert!(!take(State::Open, None), "it was said before");
        assert!(!take(State::Confirmed, well));
        assert!(!take(State::Final, Some(Status::Exited(1))));
        assert!(!take(State::Final, Some(Status::Exited(1))), "the same page again");
        assert_eq!(sink.0, ["take back", "show", "take back", "take back", "show", "put"]);
        assert_eq!(follower.failures(), ["input 3: exit code 1"]);
    }

    #[test]
    fn what_is_taken_back_is_named_by_its_input() {
        let words = taken_back(&result(State::Disputed, None));
        assert_eq!(words, "input 3: taken back: two peers differ");
        let bare = shown(&result(State::Final, None), true);
        assert!(bare.get("by").is_none() && bare["state"] == "final", "{bare}");
        assert!(shown(&result(State::Final, None), false).get("by").is_some());
    }
}
