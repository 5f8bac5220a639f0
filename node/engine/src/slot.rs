//! One slot: a thread that keeps one engine process fed, listens to it, and ends it when it must.

use std::{
    borrow::Cow,
    collections::VecDeque,
    io,
    os::unix::net::UnixStream,
    sync::Arc,
    time::{Duration, Instant},
};

use bayan_protocol::task::Status;
use rustix::event::{PollFd, PollFlags};

use crate::{
    child::Mode,
    flight::{End, Flight, GHOST, HAND_BACK, Load, PIPELINE, Weight},
    kept::Kept,
    process::{Lost, Process, describe, wait},
    queue::{Name, Order, Place, Shared, drain},
    sealed,
    socket::{Outbound, Received},
    task::{self, Outcome},
    walls::Bounds,
    wire::{self, MAX_INLINE_STDIN, Nonsense, Reply, Request, Run, SMALL_REPLY, Stdin},
};

/// A process that does not serve by then is given up.
const START: Duration = Duration::from_secs(30);
/// How often the memory of a working process is looked at.
const WATCH: Duration = Duration::from_millis(50);
/// Reads in a row before deadlines are looked at again.
const READS: usize = 32;

pub(crate) struct Slot {
    shared: Arc<Shared>,
    index: usize,
    wake: UnixStream,
    engine: Option<Engine>,
    /// Attempts given to the process, in the order of its replies.
    flights: VecDeque<Flight>,
    load: Load,
    next_seq: u64,
    idle_since: Instant,
    watched: Instant,
    /// Something has changed that is to be looked at before waiting.
    changed: bool,
}

struct Engine {
    process: Process,
    ready: bool,
    kept: Kept,
}

/// What to do next, decided with all slots in view.
struct Plan {
    ended: Vec<(Name, Outcome)>,
    cancelled: Vec<Name>,
    taken: Vec<(Name, Arc<Order>, Weight)>,
    start: bool,
    paused: bool,
    closed: bool,
    over: bool,
    start_after: Option<Instant>,
}

impl Slot {
    pub(crate) fn new(shared: Arc<Shared>, index: usize, wake: UnixStream) -> Self {
        let now = Instant::now();
        Self {
            shared,
            index,
            wake,
            engine: None,
            flights: VecDeque::new(),
            load: Load::default(),
            next_seq: 0,
            idle_since: now,
            watched: now,
            changed: false,
        }
    }

    pub(crate) fn work(mut self) {
        loop {
            let plan = self.plan();
            self.shared.report(plan.ended);
            if plan.over {
                return;
            }
            if plan.paused || plan.closed {
                self.end(End::Interrupted);
            }
            for name in plan.cancelled {
                self.cancel(name);
            }
            if plan.start {
                self.start();
            }
            for (name, order, alone) in plan.taken {
                self.give(name, order, alone);
            }
            if std::mem::take(&mut self.changed) {
                continue;
            }
            if let Err(error) = self.wait(plan.start_after) {
                self.end(End::Lost(Lost::Socket(error)));
            }
            drain(&self.wake);
            if let Err(lost) = self.listen() {
                self.end(End::Lost(lost));
            }
            self.check();
        }
    }

    /// Looks at what the slots share, and takes attempts.
    fn plan(&mut self) -> Plan {
        let now = Instant::now();
        let mut state = self.shared.state();
        let state = &mut *state;
        let (paused, closed) = (state.paused, state.closed);
        let busy = self.flights.front().is_some_and(|head| now >= head.since + PIPELINE);
        let ready = self.engine.as_ref().is_some_and(|engine| engine.ready);
        let can_take = ready && !busy && !paused && !closed;
        let mut taken = Vec::new();
        let share = (state.waiting.len() / state.slots.len()).max(1);
        let engine = self.engine.as_ref().filter(|_| can_take);
        while let Some(engine) = engine
            && let Some(entry) = state.waiting.front().and_then(|name| state.entries.get_mut(name))
        {
            let missing = engine.kept.missing(&entry.order);
            let weight = Weight::of(&entry.order, entry.alone, missing);
            if taken.len() >= share || !self.load.takes(&weight) {
                break;
            }
            let Some(name) = state.waiting.pop_front() else { break };
            entry.place = Place::Slot(self.index);
            self.load.add(&weight);
            taken.push((name, Arc::clone(&entry.order), weight));
        }
        let start_after = state.start_after(now).filter(|_| !state.waiting.is_empty());
        let slot = &mut state.slots[self.index];
        slot.process = self.engine.as_ref().map(|engine| engine.process.id());
        slot.idle = self.flights.is_empty() && taken.is_empty();
        let open = if self.engine.is_some() { can_take && self.load.has_room() } else { !paused };
        slot.hungry = open && state.waiting.is_empty();
        let ended = std::mem::take(&mut state.ended);
        Plan {
            cancelled: std::mem::take(&mut slot.cancels),
            taken,
            start: self.engine.is_none()
                && !paused
                && !closed
                && !state.waiting.is_empty()
                && start_after.is_none(),
            paused,
            closed,
            // What has ended is reported before the thread goes.
            over: closed && self.engine.is_none() && self.flights.is_empty(),
            ended,
            start_after,
        }
    }

    fn start(&mut self) {
        let bounds = Bounds { data: self.shared.options.memory, cpu_seconds: 0 };
        let begun = Instant::now();
        match Process::start(&self.shared.options.launcher, Mode::Run, &bounds) {
            Ok(process) => {
                tracing::debug!(slot = self.index, pid = process.id(), "engine process started");
                self.next_seq = 0;
                self.engine = Some(Engine { process, ready: false, kept: Kept::default() });
            }
            Err(error) => {
                self.shared.state().start_failed(begun, format!("cannot start it: {error}"));
            }
        }
        self.changed = true;
    }

    /// Gives an attempt to the process; if it cannot be put into words, it ends here.
    fn give(&mut self, name: Name, order: Arc<Order>, weight: Weight) {
        let Some(engine) = &mut self.engine else {
            self.changed = true;
            return self.shared.state().give_back(&[name], false);
        };
        let seq = self.next_seq;
        self.next_seq += 1;
        let out = &mut engine.process.outbound;
        let sent = engine.kept.hand_over(&order, out).and_then(|()| request(seq, &order, out));
        match sent {
            Ok(()) => self.flights.push_back(Flight::new(seq, name, order, weight)),
            Err(error) => {
                let words = format!("cannot hand the attempt over: {error}");
                self.shared.report([(name, task::fault(&words))]);
                // What the process has been told is no longer known for sure.
                self.end(End::Interrupted);
            }
        }
    }

    /// Sends what waits and waits for something to happen.
    fn wait(&mut self, start_after: Option<Instant>) -> io::Result<()> {
        if let Some(engine) = &mut self.engine
            && let Err(Lost::Socket(error)) = engine.process.send()
        {
            return Err(error);
        }
        let deadline = [self.deadline(), start_after].into_iter().flatten().min();
        let timeout = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let wake = PollFd::new(&self.wake, PollFlags::IN);
        match &self.engine {
            None => wait(&mut [wake], timeout),
            Some(engine) => {
                let mut wanted = PollFlags::IN;
                wanted.set(PollFlags::OUT, !engine.process.outbound.is_empty());
                wait(&mut [wake, PollFd::new(&engine.process.socket, wanted)], timeout)
            }
        }
    }

    /// Takes in replies and reports the outcomes among them.
    fn listen(&mut self) -> Result<(), Lost> {
        for _ in 0..READS {
            let Some(engine) = &mut self.engine else { return Ok(()) };
            let received = engine.process.receive()?;
            let mut outcomes = Vec::new();
            let understood = self.understand(&mut outcomes);
            self.shared.report(outcomes);
            understood?;
            match received {
                Received::Bytes => {}
                Received::Nothing => return Ok(()),
                Received::End => return Err(Lost::Closed),
            }
        }
        Ok(())
    }

    fn understand(&mut self, outcomes: &mut Vec<(Name, Outcome)>) -> Result<(), Lost> {
        let unexpected = |what| Err(Lost::Nonsense(Nonsense::Unexpected(what)));
        while let Some(engine) = &mut self.engine {
            let limit = self.flights.front().map_or(SMALL_REPLY, Flight::reply_limit);
            let Some(reply) = engine.process.next(limit)? else { break };
            let head = self.flights.front();
            match reply {
                Reply::Ready(walls) if !engine.ready => {
                    engine.ready = true;
                    self.idle_since = Instant::now();
                    self.shared.state().trouble = None;
                    tracing::debug!(slot = self.index, %walls, "engine process serves");
                }
                Reply::Failed(words) if !engine.ready => return Err(Lost::Failed(words)),
                Reply::Skipped { seq } if head.is_some_and(|head| head.may_skip(seq)) => {
                    self.land();
                }
                Reply::Done { seq, status, output, fuel, log, micros } => {
                    let Some(head) = head.filter(|head| head.seq == seq) else {
                        return unexpected("an outcome of an attempt that is not its turn");
                    };
                    let (output, log) = (output.into_vec(), log.into_vec());
                    let outcome = Outcome { status, output, fuel, log, micros };
                    let outcome = head.believe(outcome).map_err(Nonsense::Unexpected)?;
                    if let Some(flight) = self.land()
                        && !flight.withdrawn
                    {
                        flight.order.module.learn(Duration::from_micros(outcome.micros));
                        outcomes.push((flight.name, outcome));
                    }
                }
                _ => return unexpected("a reply that nothing asked for"),
            }
        }
        Ok(())
    }

    /// The first attempt is over; the next one's time begins.
    fn land(&mut self) -> Option<Flight> {
        let flight = self.flights.pop_front()?;
        self.load.remove(&flight.weight);
        let now = Instant::now();
        match self.flights.front_mut() {
            Some(head) => head.since = now,
            None => self.idle_since = now,
        }
        Some(flight)
    }

    /// When something is due if nothing happens.
    fn deadline(&self) -> Option<Instant> {
        let engine = self.engine.as_ref()?;
        if !engine.ready {
            return Some(engine.process.begun + START);
        }
        let Some(head) = self.flights.front() else {
            return self.idle_since.checked_add(self.shared.options.idle);
        };
        let hand_back = self.waits_behind().then(|| head.since + HAND_BACK);
        [head.deadline(), Some(self.watched + WATCH), hand_back].into_iter().flatten().min()
    }

    /// Whether wanted attempts wait behind the first one.
    fn waits_behind(&self) -> bool {
        self.flights.iter().skip(1).any(|flight| !flight.withdrawn)
    }

    /// Does what is due.
    fn check(&mut self) {
        let now = Instant::now();
        let Some(engine) = &self.engine else { return };
        if !engine.ready {
            if now >= engine.process.begun + START {
                self.end(End::Lost(Lost::Silent));
            }
            return;
        }
        let Some(head) = self.flights.front() else {
            if now.duration_since(self.idle_since) >= self.shared.options.idle {
                self.end(End::Idle);
            }
            return;
        };
        if head.deadline().is_some_and(|deadline| now >= deadline) {
            let end = if head.withdrawn { End::Interrupted } else { End::WallTime };
            return self.end(end);
        }
        if now >= self.watched + WATCH {
            self.watched = now;
            let bound = head.memory_bound().saturating_add(engine.kept.bytes().saturating_mul(2));
            if let Some(used) = engine.process.resident().filter(|used| *used > bound) {
                return self.end(End::Memory { used, bound });
            }
        }
        if now >= head.since + HAND_BACK && self.waits_behind() {
            self.hand_back();
        }
    }

    /// Has others run what waits behind an attempt that takes long.
    fn hand_back(&mut self) {
        let (Some(engine), Some(head)) = (&mut self.engine, self.flights.front()) else { return };
        head.order.module.learn(HAND_BACK);
        let mut names = Vec::new();
        for flight in self.flights.iter_mut().skip(1).filter(|flight| !flight.withdrawn) {
            flight.withdraw(&mut engine.process.outbound);
            names.push(flight.name);
        }
        self.shared.state().give_back(&names, false);
    }

    /// Ends an attempt that was cancelled; unless it is over already.
    fn cancel(&mut self, name: Name) {
        let wanted = |flight: &Flight| flight.name == name && !flight.withdrawn;
        match self.flights.iter().position(wanted) {
            Some(0) => self.end(End::Cancelled),
            Some(index) => {
                if let Some(engine) = &mut self.engine {
                    self.flights[index].withdraw(&mut engine.process.outbound);
                }
                self.shared.report([(name, task::cancelled())]);
            }
            None => {}
        }
    }

    /// Ends the process, reports the attempt that `end` is about and gives the others back.
    fn end(&mut self, end: End) {
        let Some(mut engine) = self.engine.take() else { return };
        self.changed = true;
        let status = engine.process.end();
        let mut flights = std::mem::take(&mut self.flights);
        self.load = Load::default();
        let begun = engine.process.begun;
        let words = match &end {
            End::Lost(Lost::Closed) => describe(status),
            End::Lost(lost) => lost.to_string(),
            _ => String::new(),
        };
        if !engine.ready && matches!(end, End::Lost(_)) {
            self.shared.state().start_failed(begun, words);
            return;
        }
        // A process that died may have done so in any of its attempts, as outcomes are sent a
        // moment late. Each is then run alone: whoever was not at fault gets its result.
        let died = matches!(end, End::Lost(Lost::Closed | Lost::Socket(_)));
        let at_fault = match flights.front() {
            Some(head) if died => flights.len() == 1 && !head.withdrawn,
            Some(head) => !head.withdrawn,
            None => false,
        };
        let outcome = match &end {
            End::Interrupted | End::Idle => None,
            End::Cancelled => Some(task::cancelled()),
            End::WallTime => Some(task::inconclusive(Status::WallTime, "out of wall time")),
            End::Memory { used, bound } => {
                let (used, bound) = (used >> 20, bound >> 20);
                let words = format!("the engine process used {used} MiB where {bound} are allowed");
                Some(task::inconclusive(Status::MemoryRefused, &words))
            }
            End::Lost(_) => {
                tracing::warn!(slot = self.index, words, "an engine process was lost");
                Some(task::fault(&words))
            }
        };
        let blamed = outcome.filter(|_| at_fault).and_then(|mut outcome| {
            let flight = flights.pop_front()?;
            outcome.micros = flight.since.elapsed().as_micros().try_into().unwrap_or(u64::MAX);
            Some((flight.name, outcome))
        });
        let wanted = flights.iter().filter(|flight| !flight.withdrawn);
        let names: Vec<Name> = wanted.map(|flight| flight.name).collect();
        {
            let mut state = self.shared.state();
            state.slots[self.index].process = None;
            state.give_back(&names, died);
        }
        self.shared.report(blamed);
    }
}

/// Puts an attempt into the words of the wire.
fn request(seq: u64, order: &Order, out: &mut Outbound) -> io::Result<()> {
    let task = &order.task;
    let descriptor = match task.stdin.len() > MAX_INLINE_STDIN {
        true => Some(sealed::seal("bayan-stdin", &task.stdin)?),
        false => None,
    };
    let stdin = match descriptor {
        Some(_) => Stdin::Descriptor { len: task.stdin.len() as u64 },
        None => Stdin::Inline(Cow::Borrowed(&task.stdin)),
    };
    let data = task.data.iter().map(|(name, data)| (Cow::Borrowed(name.as_str()), data.id()));
    let run = Request::Run(Run {
        seq,
        module: order.module.id(),
        task: task.id.0,
        args: Cow::Borrowed(&task.args),
        env: Cow::Borrowed(&task.env),
        stdin,
        data: data.collect(),
        limits: task.limits,
    });
    let mut bytes = Vec::new();
    wire::write(&run, &mut bytes).map_err(io::Error::other)?;
    match descriptor {
        Some(descriptor) => out.push(bytes, descriptor),
        None => out.buffer().extend_from_slice(&bytes),
    }
    Ok(())
}

const _: () = assert!(GHOST.as_millis() >= HAND_BACK.as_millis());
