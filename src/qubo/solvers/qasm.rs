//! QAOA circuits as OpenQASM 3, for machines that have qubits.

use crate::error::{Result, fail};
use crate::qubo::problem::Problem;
use std::io::Write;

/// Writes the circuit of a problem with those angles, one gamma (in units of one over the objective) and beta (in radians) for each
/// layer: `exp(-i gamma cost)` in gates of one and two qubits, then `exp(-i beta X)`; in the end every qubit is measured. The cost is
/// the problem's value, negated where it is to be maximized. `InvalidArgument` when the angles are not pairs of finite numbers, `Io`.
pub fn write_qasm(problem: &Problem, gammas: &[f64], betas: &[f64], out: &mut dyn Write) -> Result<()> {
    if gammas.len() != betas.len() || !gammas.iter().chain(betas).all(|a| a.is_finite()) {
        fail!(
            InvalidArgument,
            "{} gammas and {} betas: give one finite number of each for every layer",
            gammas.len(),
            betas.len()
        );
    }
    match circuit(problem, gammas, betas, out) {
        Ok(()) => Ok(()),
        Err(e) => fail!(Io, "the circuit cannot be written: {e}"),
    }
}

fn circuit(problem: &Problem, gammas: &[f64], betas: &[f64], out: &mut dyn Write) -> std::io::Result<()> {
    let (n, sign) = (problem.len(), problem.sense().sign());
    writeln!(out, "OPENQASM 3.0;\ninclude \"stdgates.inc\";")?;
    if n == 0 {
        return Ok(());
    }
    writeln!(out, "qubit[{n}] q;\nbit[{n}] c;")?;
    for i in 0..n {
        writeln!(out, "h q[{i}];")?;
    }
    for (gamma, beta) in gammas.iter().zip(betas) {
        for i in 0..n {
            // x = (1 - Z) / 2, and rz(a) is exp(-i a Z / 2).
            let couplings: f64 = problem.neighbours(i).map(|(_, v)| v).sum();
            let angle = -gamma * sign * (problem.linear(i) + 0.5 * couplings);
            if angle != 0.0 {
                writeln!(out, "rz({angle}) q[{i}];")?;
            }
            for (j, v) in problem.neighbours(i).filter(|(j, _)| *j as usize > i) {
                let angle = 0.5 * gamma * sign * v;
                writeln!(out, "cx q[{i}], q[{j}];\nrz({angle}) q[{j}];\ncx q[{i}], q[{j}];")?;
            }
        }
        for i in 0..n {
            writeln!(out, "rx({}) q[{i}];", 2.0 * beta)?;
        }
    }
    writeln!(out, "c = measure q;")
}
