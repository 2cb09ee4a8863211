//! Solvers of the host: a cloud or a device, behind a trait object. What they say is checked, and they are not waited for for ever.
//!
//! A host's solver has a thread and a buffer of its own, so that a run can go on when no answer comes: it then leaves thread, buffer and
//! solver alone, and takes nothing from them any more but the news that the thread is free again.

use crate::error::{Code, Error, Result, fail, try_vec};
use crate::qubo::problem::Problem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A solver that is not in this library.
pub trait Host: Send {
    /// Writes an assignment of zeros and ones to `x`, which has an element for each variable, within `timeout`. An error, a panic, a
    /// later answer or an element that is neither 0 nor 1 counts as a failure, and the local portfolio solves instead.
    ///
    /// Called on a thread of its own. A call that does not return holds that thread, the solver and a reference to the problem as
    /// long as it lasts, also after the [`Solver`](crate::qubo::Solver) is gone; runs meanwhile do without it.
    fn solve(&mut self, problem: &Problem, timeout: Duration, x: &mut [u8]) -> Result<()>;
}

/// Time a host is given where no limit says otherwise.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The time between two looks at the cancel flag.
const LOOK: Duration = Duration::from_millis(5);
/// Bytes of the thread's stack: the host's code is nobody's guess.
const STACK: usize = 2 << 20;

/// Bytes of memory that a host's solver takes for `n` variables: on its stack, and for its answer.
pub(crate) fn bytes(n: usize) -> (usize, usize) {
    (STACK, n)
}

/// What the thread is about.
enum Stage {
    /// Waiting to be asked.
    Idle,
    /// Asked for an answer within a time.
    Asked(Duration),
    /// Solving; whether anybody still waits.
    Busy(bool),
    Answered(Result<()>),
    /// To end.
    Done,
}

struct Desk {
    stage: Mutex<Stage>,
    turned: Condvar,
    answer: Mutex<Vec<u8>>,
}

impl Desk {
    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A host's solver on its thread.
pub(crate) struct Asker {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

impl Asker {
    /// `OutOfMemory` where no thread can be had.
    pub fn new(host: Box<dyn Host>, problem: &Problem) -> Result<Asker> {
        let mut answer = try_vec(problem.len(), "variables")?;
        answer.resize(problem.len(), 0);
        let (stage, answer) = (Mutex::new(Stage::Idle), Mutex::new(answer));
        let desk = Arc::new(Desk { stage, turned: Condvar::new(), answer });
        let (own, problem) = (Arc::clone(&desk), problem.clone());
        let builder = thread::Builder::new().name("qorus-host".to_owned()).stack_size(STACK);
        match builder.spawn(move || work(host, &problem, &own)) {
            Ok(thread) => Ok(Asker { desk, thread: Some(thread) }),
            Err(e) => fail!(OutOfMemory, "no thread for the host's solver: {e}"),
        }
    }

    /// Asks, for half of the time limit so that a failure leaves time for others, and writes the answer to `x` if it is one. `stop` is
    /// asked now and then whether the answer is still wanted.
    pub fn ask(&self, limit: Option<Duration>, x: &mut [u8], stop: &mut dyn FnMut() -> bool) -> Result<()> {
        let (start, timeout) = (Instant::now(), limit.map_or(TIMEOUT, |limit| limit / 2));
        let mut stage = self.desk.stage();
        if !matches!(*stage, Stage::Idle) {
            fail!(State, "the host's solver has not come back from an earlier run");
        }
        *stage = Stage::Asked(timeout);
        self.desk.turned.notify_all();
        loop {
            if let Stage::Answered(result) = &mut *stage {
                let result = std::mem::replace(result, Ok(()));
                *stage = Stage::Idle;
                result?;
                break;
            }
            let left = timeout.saturating_sub(start.elapsed());
            let unwanted = stop();
            if left.is_zero() || unwanted {
                // Whatever it is at, nobody waits for it any more.
                *stage = if matches!(*stage, Stage::Asked(_)) { Stage::Idle } else { Stage::Busy(false) };
                fail!(State, "the host's solver gave no answer within {:?}", start.elapsed());
            }
            let waited = self.desk.turned.wait_timeout(stage, left.min(LOOK));
            stage = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(stage);
        x.copy_from_slice(&self.desk.answer.lock().unwrap_or_else(PoisonError::into_inner));
        match x.iter().position(|v| *v > 1) {
            Some(i) => fail!(InvalidArgument, "the host's solver left variable {i} without a 0 or 1"),
            None => Ok(()),
        }
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        let busy = matches!(*self.desk.stage(), Stage::Busy(_));
        *self.desk.stage() = Stage::Done;
        self.desk.turned.notify_all();
        // One that is still at it is left alone: its thread ends when it comes back.
        if let Some(thread) = self.thread.take().filter(|_| !busy) {
            let _ = thread.join();
        }
    }
}

/// The thread: asks the host's solver whenever somebody asks.
fn work(mut host: Box<dyn Host>, problem: &Problem, desk: &Desk) {
    loop {
        let mut stage = desk.stage();
        let timeout = loop {
            match *stage {
                Stage::Asked(timeout) => break timeout,
                Stage::Done => return,
                _ => stage = desk.turned.wait(stage).unwrap_or_else(PoisonError::into_inner),
            }
        };
        *stage = Stage::Busy(true);
        drop(stage);
        let result = {
            // Nobody else takes this while the stage is busy.
            let mut x = desk.answer.lock().unwrap_or_else(PoisonError::into_inner);
            x.fill(2);
            let solved = catch_unwind(AssertUnwindSafe(|| host.solve(problem, timeout, &mut x)));
            solved.unwrap_or_else(|_| Err(Error::new(Code::Internal, "the host's solver panicked")))
        };
        let mut stage = desk.stage();
        match *stage {
            Stage::Busy(true) => *stage = Stage::Answered(result),
            Stage::Done => return,
            _ => *stage = Stage::Idle,
        }
        desk.turned.notify_all();
    }
}
