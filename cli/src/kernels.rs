//! `qorus kernels`: every kernel of the table on one thread, against its scalar definition and the arithmetic limit.

use crate::args;
use crate::failure::Result;
use crate::output;
use qorus::Isa;
use qorus::kernels::exercise::peak::{Unit, peak};
use qorus::kernels::exercise::{Exercise, Shape, usual_shapes};
use qorus::kernels::table::{Entry, Func, entries};
use serde_json::{Value, json};
use std::io::Write;
use std::time::Duration;

#[derive(clap::Args)]
pub struct Args {
    /// Highest level of instruction sets: scalar, avx2, avxvnni, avx512 or avx512bf16 [default: what the CPU has]
    #[arg(long, value_name = "LEVEL", value_parser = args::isa)]
    isa: Option<Isa>,
    /// Print an array of objects
    #[arg(long)]
    json: bool,
    /// Only kernels whose operation and type contain this, as in `matmul` or "dequantize Q4_K"
    filter: Option<String>,
}

/// What one measurement takes at least, and how many there are, of which the best counts.
const LEAST: Duration = Duration::from_millis(4);
const ROUNDS: usize = 3;

/// A kernel that was measured.
struct Row {
    entry: &'static Entry,
    shape: Shape,
    ns: f64,
    gb_per_s: f64,
    gflop_per_s: f64,
    speedup: f64,
    /// Of the level's arithmetic limit.
    share: f64,
}

/// Operations per second of one thread at each level, of 8-bit integers, of f32 and of bf16.
struct Limits([[f64; 3]; Isa::ALL.len()]);

impl Limits {
    /// Of the levels that `entries` have.
    fn measure(entries: &[&Entry]) -> Limits {
        Limits(Isa::ALL.map(|isa| {
            let needed = entries.iter().any(|e| e.isa == isa);
            if needed { [Unit::I8, Unit::F32, Unit::Bf16].map(|unit| peak(isa, unit)) } else { [0.0; 3] }
        }))
    }

    /// The share that so many operations per second are of what the kernel's level has.
    fn share(&self, entry: &Entry, per_second: f64) -> f64 {
        let unit = match entry.func {
            Func::MatmulQ8(_) => 0,
            _ if entry.op == "matmul_bf16" => 2,
            _ => 1,
        };
        let of = |limits: &[f64; 3]| limits[unit];
        Isa::ALL
            .iter()
            .zip(&self.0)
            .find(|(isa, _)| **isa == entry.isa)
            .map_or(0.0, |(_, limits)| per_second / of(limits))
    }
}

pub fn main(args: Args) -> Result {
    let cap = args.isa.unwrap_or(Isa::Avx512Bf16);
    let filter = args.filter.unwrap_or_default().to_ascii_lowercase();
    let wanted = |e: &&Entry| format!("{} {}", e.op, e.ty.name()).to_ascii_lowercase().contains(&filter);
    let (can, cannot): (Vec<&Entry>, Vec<&Entry>) =
        entries().filter(|e| e.isa <= cap).filter(wanted).partition(|e| e.isa.available());
    for isa in Isa::ALL {
        let n = cannot.iter().filter(|e| e.isa == isa).count();
        if n > 0 {
            let _ = writeln!(std::io::stderr(), "SKIPPED: {n} kernels of {}, which this CPU lacks", isa.name());
        }
    }
    let limits = Limits::measure(&can);
    let bar = output::progress(can.len());
    let mut rows: Vec<Row> = Vec::new();
    for entry in can {
        bar.set_message(format!("{} {}", entry.op, entry.ty.name()));
        for &shape in usual_shapes(entry) {
            if let Some(mut row) = measure(entry, shape) {
                // Scalar kernels come first in the table, and others are compared with theirs.
                let twin =
                    |r: &&Row| (r.entry.op, r.entry.ty, size(&r.shape)) == (entry.op, entry.ty, size(&row.shape));
                row.share = limits.share(entry, row.gflop_per_s * 1e9);
                row.speedup = rows.iter().find(twin).map_or(1.0, |scalar| scalar.ns / row.ns);
                rows.push(row);
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    rows.sort_by_key(|row| (row.entry.op, row.entry.ty as u32, size(&row.shape), row.entry.isa));
    if args.json {
        return output::json(&rows.iter().map(Row::json).collect());
    }
    let heads = ["op", "type", "isa", ">shape", ">ns", ">GB/s", ">GFLOP/s", ">against scalar", ">of limit"];
    output::table(&heads, &rows.iter().map(Row::cells).collect::<Vec<_>>())
}

fn size(shape: &Shape) -> (usize, usize, usize) {
    (shape.k, shape.rows, shape.tokens)
}

/// None when the CPU lacks the level.
fn measure(entry: &'static Entry, shape: Shape) -> Option<Row> {
    let mut memory = vec![0; Exercise::bytes(entry, shape)];
    let mut exercise = Exercise::new(entry, shape, &mut memory, 1)?;
    let mut runs = 1;
    while exercise.time(runs) < LEAST && runs < 1 << 24 {
        runs *= 2;
    }
    let times = (0..ROUNDS).map(|_| exercise.time(runs));
    let ns = times.min().unwrap_or_default().as_nanos().max(1) as f64 / runs as f64;
    let work = exercise.work();
    let (gb_per_s, gflop_per_s) = (work.bytes as f64 / ns, work.flops as f64 / ns);
    Some(Row { entry, shape: exercise.shape(), ns, gb_per_s, gflop_per_s, speedup: 1.0, share: 0.0 })
}

impl Row {
    fn json(&self) -> Value {
        let Row { entry, shape, .. } = self;
        json!({
            "op": entry.op,
            "type": entry.ty.name(),
            "isa": entry.isa.name(),
            "ns": self.ns,
            "gb_per_s": self.gb_per_s,
            "gflop_per_s": self.gflop_per_s,
            "speedup_over_scalar": self.speedup,
            "share_of_limit": self.share,
            "k": shape.k,
            "rows": shape.rows,
            "tokens": shape.tokens,
        })
    }

    fn cells(&self) -> Vec<String> {
        let Row { entry, shape, .. } = self;
        vec![
            entry.op.into(),
            entry.ty.name().into(),
            entry.isa.name().into(),
            format!("{} x {} x {}", shape.k, shape.rows, shape.tokens),
            format!("{:.0}", self.ns),
            format!("{:.2}", self.gb_per_s),
            format!("{:.2}", self.gflop_per_s),
            format!("{:.1}x", self.speedup),
            format!("{:.0} %", self.share * 100.0),
        ]
    }
}
