//! The strings by which a run is held from other threads: pause, go on, stop.

use std::sync::{Condvar, Mutex, PoisonError};

/// What is wanted of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// To go on.
    #[default]
    Go,
    /// To wait after the step under way.
    Pause,
    /// To finish the step under way, save and end.
    Stop,
}

/// Shared by a run and those who hold it.
#[derive(Debug, Default)]
pub struct Control {
    wish: Mutex<Wish>,
    changed: Condvar,
}

impl Control {
    /// Nothing but to go on.
    pub fn new() -> Control {
        Control::default()
    }

    /// Says what is wanted from now on. A stop is not taken back.
    pub fn set(&self, wish: Wish) {
        let mut now = self.wish.lock().unwrap_or_else(PoisonError::into_inner);
        if *now != Wish::Stop {
            *now = wish;
        }
        self.changed.notify_all();
    }

    /// What is wanted.
    pub fn wish(&self) -> Wish {
        *self.wish.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while a pause is wanted; whether to go on.
    pub fn wait(&self) -> bool {
        let mut now = self.wish.lock().unwrap_or_else(PoisonError::into_inner);
        while *now == Wish::Pause {
            now = self.changed.wait(now).unwrap_or_else(PoisonError::into_inner);
        }
        *now == Wish::Go
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn a_pause_ends_by_going_on_or_stopping() {
        for (wish, go) in [(Wish::Go, true), (Wish::Stop, false)] {
            let control = Arc::new(Control::new());
            assert!(control.wait());
            control.set(Wish::Pause);
            let other = Arc::clone(&control);
            let waiting = std::thread::spawn(move || other.wait());
            std::thread::sleep(Duration::from_millis(20));
            assert!(!waiting.is_finished());
            control.set(wish);
            assert_eq!(waiting.join().unwrap(), go);
        }
        let control = Control::new();
        control.set(Wish::Stop);
        control.set(Wish::Go);
        assert_eq!(control.wish(), Wish::Stop);
    }
}
