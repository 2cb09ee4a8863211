//! A run held by signals: Ctrl-C and SIGTERM finish the step, save and end; SIGUSR1 pauses after the step, SIGUSR2 goes on.

use crate::failure::{Result, run};
use qorus::train::control::{Control, Wish};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;
use std::io::Write as _;
use std::sync::Arc;

/// A control that signals reach. A second Ctrl-C ends the program at once; the last checkpoint stays whole.
pub fn by_signals() -> Result<Arc<Control>> {
    let mut signals = match Signals::new([SIGINT, SIGTERM, SIGUSR1, SIGUSR2]) {
        Ok(signals) => signals,
        Err(e) => return run(format_args!("the system does not let signals be handled: {e}")),
    };
    let control = Arc::new(Control::new());
    let held = Arc::clone(&control);
    std::thread::spawn(move || {
        for signal in signals.forever() {
            match signal {
                SIGUSR1 => held.set(Wish::Pause),
                SIGUSR2 => held.set(Wish::Go),
                _ if held.wish() == Wish::Stop => std::process::exit(128 + signal),
                _ => {
                    let _ = writeln!(std::io::stderr(), "Finishing the step and saving; once more ends at once.");
                    held.set(Wish::Stop);
                }
            }
        }
    });
    Ok(control)
}
