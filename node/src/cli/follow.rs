//! Following a job to its end: progress to the screen, results to a sink, and on to the next peer
//! if the one that was followed goes away.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, SyncSender},
    },
    thread,
};

use anyhow::{Context as _, anyhow};
use bayan_protocol::{id::JobId, record::JobState, source::JobView, verify::State};

use super::{screen::Screen, session::Session, signals, sink::Sink, text};
use crate::{
    api::types::TaskResult,
    client::{Client, ClientError},
};

/// Updates that wait to be looked at.
const QUEUE: usize = 16;
/// Results asked for at once.
const PAGE: usize = 256;
/// Failing tasks whose logs are shown.
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
        Ok(Self { updates, interrupts, watchers: 0, failures: Vec::new() })
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

    /// Takes every result that the job has now; its standing.
    pub(super) fn collect(
        &mut self,
        client: &Client,
        job: JobId,
        taken: &mut u64,
        sink: &mut dyn Sink,
    ) -> anyhow::Result<u64> {
        let mut put = 0;
        while !self.interrupts.happened() {
            let page = client.results(job, *taken, PAGE)?;
            if page.results.is_empty() {
                break;
            }
            *taken = page.next;
            for result in page.results {
                if !matches!(result.state, State::Final | State::GivenUp) {
                    continue;
                }
                sink.put(&result, client)?;
                put += 1;
                if !result.status.is_some_and(|status| status.is_success())
                    && self.failures.len() < SHOWN
                {
                    self.failures.push(result);
                }
            }
            sink.flush()?;
        }
        Ok(put)
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
            if over || view.settled > 0 {
                self.collect(client, job, taken, sink)?;
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
