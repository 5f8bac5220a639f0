//! One combination with one seed: a job in a world, and what it took.

use bayan_world::{
    Role, SECOND, World,
    habits::{Sandman, Sleep, Speeds},
    host::Plan,
    network::{Conditions, Line, Region},
    outcome,
};

use super::Point;

/// Workers look this often whether they are still connected.
const REDIAL: u64 = 30 * SECOND;
const MILLION: f64 = 1_000_000.0;

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Row {
    /// Whether the job ended within the limit.
    pub done: bool,
    /// Virtual seconds until then.
    pub seconds: f64,
    /// Attempts a task.
    pub attempts: f64,
    /// Tasks that ended with a wrong result, or none.
    pub wrong: u64,
    /// Frames a task.
    pub frames: f64,
    /// Bytes of frames and blobs a task.
    pub bytes: f64,
    /// Share of the workers' slots, over all the time, that was used.
    pub busy: f64,
}

impl Row {
    /// What the columns are called.
    pub const COLUMNS: [&str; 7] =
        ["done", "seconds", "attempts", "wrong", "frames", "bytes", "busy"];

    /// As numbers, in the order of the columns.
    pub fn numbers(&self) -> [f64; 7] {
        let Self { done, seconds, attempts, wrong, frames, bytes, busy } = *self;
        [f64::from(u8::from(done)), seconds, attempts, wrong as f64, frames, bytes, busy]
    }
}

/// Plays one combination with one seed.
pub fn play(point: &Point, seed: u64) -> Row {
    let mut world = World::new(seed);
    let of_million = |share: f64| (share * MILLION) as u64;
    world.set_conditions(Conditions {
        regions: point.regions,
        loss: of_million(point.loss),
        ..Conditions::default()
    });
    let line = Line { up: point.own_line, down: point.own_line, ..Line::default() };
    let me = world.join(Plan { slots: point.own_slots, line, ..Plan::default() });
    let relays: Vec<usize> = (0..point.relays)
        .map(|_| world.join(Plan { slots: 0, relays: true, ..Plan::default() }))
        .collect();
    let cheats = (point.workers as f64 * point.cheats).round() as u64;
    let speeds = Speeds { median: point.task_micros, sigma: point.spread };
    let workers: Vec<usize> = (0..point.workers)
        .map(|number| {
            let region = Region::ALL[world.draw(Region::ALL.len() as u64) as usize];
            let line = Line { region, up: point.up, down: point.down, reachable: true };
            let role = if number < cheats { point.role.clone() } else { Role::Honest };
            let (slots, fails) = (point.slots, of_million(point.fails));
            let pace = speeds.draw(&mut world);
            world.join(Plan { slots, pace, role, line, fails, ..Plan::default() })
        })
        .collect();
    let connect = |world: &mut World| {
        for relay in &relays {
            world.connect(me, *relay);
        }
        for (at, worker) in workers.iter().enumerate() {
            let above = if relays.is_empty() { me } else { relays[at % relays.len()] };
            world.connect(above, *worker);
        }
    };
    connect(&mut world);
    let began = world.now();
    let Some(job) = world.submit(me, point.tasks as i64, point.policy, point.local) else {
        return Row::default();
    };
    let sleep = Sleep { available: of_million(point.available), awake: point.awake };
    let mut sandman =
        (point.available < 1.0).then(|| Sandman::new(&mut world, sleep, workers.iter().copied()));
    let until = world.after(point.limit);
    let mut redial = world.after(REDIAL);
    loop {
        let next = sandman.as_ref().and_then(Sandman::next).unwrap_or(u64::MAX);
        let stop = bayan_protocol::time::Timestamp(next.min(redial.0).min(until.0));
        if world.run_until(stop, |world| world.is_over(me, &job)) || world.now() >= until {
            break;
        }
        if let Some(sandman) = &mut sandman {
            sandman.visit(&mut world);
        }
        if world.now() >= redial {
            connect(&mut world);
            redial = world.after(REDIAL);
        }
    }
    row(&world, point, me, &job, began.0)
}

fn row(
    world: &World,
    point: &Point,
    me: usize,
    job: &bayan_protocol::id::JobId,
    began: u64,
) -> Row {
    let Some(source) = world.job(me, job) else { return Row::default() };
    let right = |task: &u32| {
        let id = source.task_id(*task);
        let known = source.acceptance(*task).map(|one| one.outcome);
        id.is_some_and(|id| known == Some(outcome(&id)))
    };
    let ended = source.view().ended.map_or(world.now().0, |at| at.0);
    let wrong = source.feed(0).filter(|(_, task)| !right(task)).count() as u64;
    let (counts, tasks) = (world.counts, point.tasks as f64);
    let micros = ended.saturating_sub(began).max(1) as f64;
    let slots = (point.workers * u64::from(point.slots) + u64::from(point.own_slots)) as f64;
    Row {
        done: !source.is_running(),
        seconds: micros / MILLION,
        attempts: counts.attempts as f64 / tasks,
        wrong,
        frames: counts.frames as f64 / tasks,
        bytes: (counts.bytes + counts.blob_bytes) as f64 / tasks,
        busy: counts.busy as f64 / (slots * micros),
    }
}
