//! Ctrl-C: the first asks for an end, the second ends the program.

use crate::failure::{Result, run};
use signal_hook::consts::SIGINT;
use signal_hook::{SigId, flag, low_level};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Whether Ctrl-C was pressed.
#[derive(Clone)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on the first Ctrl-C only sets the flag.
    pub fn new() -> Result<Interrupt> {
        let flag = Arc::new(AtomicBool::new(false));
        let set = || -> std::io::Result<()> {
            // The order matters: this one looks at the flag before the next one sets it.
            flag::register_conditional_shutdown(SIGINT, 130, Arc::clone(&flag))?;
            flag::register(SIGINT, Arc::clone(&flag))?;
            Ok(())
        };
        match set() {
            Ok(()) => Ok(Interrupt(flag)),
            Err(e) => run(format_args!("the system does not let Ctrl-C be handled: {e}")),
        }
    }

    /// As if it had been pressed, so that the next Ctrl-C ends the program, or had not.
    pub fn set(&self, pressed: bool) {
        self.0.store(pressed, Relaxed);
    }

    /// Whether it was pressed.
    pub fn happened(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// While it lives Ctrl-C also sets another flag: the one that cancels a context's running call.
pub struct Also(Option<SigId>);

impl Also {
    /// Until it is dropped.
    pub fn set(flag: &Arc<AtomicBool>) -> Also {
        Also(flag::register(SIGINT, Arc::clone(flag)).ok())
    }
}

impl Drop for Also {
    fn drop(&mut self) {
        if let Some(id) = self.0.take() {
            low_level::unregister(id);
        }
    }
}
