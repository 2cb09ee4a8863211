//! Time to given values on published QUBO and Max-Cut instances, one line of JSON for each.
//!
//!     QORUS_QUBO_DIR=DIR cargo bench --features qubo --bench qubo_table -- [NAME:VALUE:SECONDS ...] [OPTION VALUE ...]
//!
//! Instances are DIR/NAME.txt, in Gset's form where the name begins with G and in the OR-Library's otherwise (as BiqMac has them: not
//! doubled); p:N,DENSITY,SEED is made by Palubeckis' generator. Options: `--seeds N` (10), `--method NAME` (auto), `--threads N` (1).

use qorus::qubo::{Control, Method, Problem, Progress, Sense, SolveParams, Solver, Stopped};
use std::time::{Duration, Instant};

/// What the solver is to reach: instance, value, seconds. As the issue of the tracker has them.
const GOALS: &[(&str, f64, f64)] = &[
    ("bqp50-1", 2098.0, 0.02),
    ("bqp50-2", 3702.0, 0.02),
    ("bqp100-1", 7970.0, 0.02),
    ("bqp100-2", 11036.0, 0.02),
    ("bqp250-1", 45607.0, 0.02),
    ("bqp250-2", 44810.0, 0.02),
    ("gka1b", 133.0, 0.02),
    ("gka1d", 6333.0, 0.02),
    ("gka1e", 16464.0, 0.02),
    ("bqp500-1", 116586.0, 0.3),
    ("bqp500-2", 128339.0, 0.3),
    ("bqp1000-1", 371438.0, 0.3),
    ("bqp1000-2", 354932.0, 0.3),
    ("G1", 11624.0, 0.3),
    ("G14", 3064.0, 10.0),
    ("G43", 6660.0, 1.0),
    ("G22", 13355.0, 1.0),
    ("G22", 13359.0, 10.0),
    ("G32", 1408.0, 1.0),
    ("G32", 1410.0, 20.0),
    ("G55", 10290.0, 4.0),
    ("G55", 10296.0, 60.0),
    ("bqp2500-1", 1515944.0, 0.5),
    ("p:3000,50,31000", 3931583.0, 0.6),
    ("p:3000,80,32000", 5193073.0, 5.0),
    ("p:3000,80,33000", 5111533.0, 5.0),
    ("p:3000,100,34000", 5761822.0, 5.0),
    ("p:3000,100,35000", 5675625.0, 5.0),
];

type Triplets = Vec<(u32, u32, i64)>;

/// Palubeckis' generator: a Lehmer sequence, one number for a coefficient and before it one for whether there is any.
fn palubeckis(n: u32, density: f64, seed: i64) -> Triplets {
    let mut state = seed;
    let mut next = || {
        state = state * 16807 % 2_147_483_647;
        state as f64 / 2_147_483_647.0
    };
    let mut triplets = Vec::new();
    for i in 0..n {
        triplets.push((i, i, (next() * 201.0) as i64 - 100));
        for j in i + 1..n {
            if next() * 100.0 <= density {
                triplets.push((i, j, 2 * ((next() * 201.0) as i64 - 100)));
            }
        }
    }
    triplets
}

fn numbers<T: std::str::FromStr>(text: &str) -> Option<Vec<T>> {
    text.split(|c: char| c.is_ascii_whitespace() || c == ',')
        .filter(|w| !w.is_empty())
        .map(|w| w.parse().ok())
        .collect()
}

/// The problem of that name; None where it is not there.
fn load(name: &str) -> Option<Problem> {
    let (n, triplets) = if let Some(made) = name.strip_prefix("p:") {
        let made: Vec<i64> = numbers(made)?;
        (made[0] as u32, palubeckis(made[0] as u32, made[1] as f64, made[2]))
    } else {
        let folder = std::env::var_os("QORUS_QUBO_DIR")?;
        let text = std::fs::read_to_string(std::path::Path::new(&folder).join(format!("{name}.txt"))).ok()?;
        let all: Vec<i64> = numbers(&text)?;
        let mut triplets = Vec::new();
        for entry in all[2..].as_chunks::<3>().0 {
            let (i, j, w) = (entry[0] as u32 - 1, entry[1] as u32 - 1, entry[2]);
            if name.starts_with('G') {
                triplets.extend([(i, i, w), (j, j, w), (i, j, -2 * w)]);
            } else {
                triplets.push((i, j, if i == j { w } else { 2 * w }));
            }
        }
        (all[0] as u32, triplets)
    };
    Some(Problem::from_triplets(n as usize, &triplets, 0.0, Sense::Maximize).unwrap_or_else(|e| panic!("{name}: {e}")))
}

fn main() {
    let (mut goals, mut seeds, mut method, mut threads) = (Vec::new(), 10, Method::Auto, 1);
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| panic!("{word} needs a value"));
        match word.as_str() {
            "--seeds" => seeds = value().parse().unwrap_or_else(|_| panic!("--seeds: give a number")),
            "--threads" => threads = value().parse().unwrap_or_else(|_| panic!("--threads: give a number")),
            "--method" => method = Method::from_name(&value()).unwrap_or_else(|| panic!("no method is called that")),
            goal => {
                let mut parts = goal.rsplitn(3, ':');
                let mut part = || parts.next().unwrap_or_else(|| panic!("{goal}: give NAME:VALUE:SECONDS"));
                let [seconds, target] = [part(), part()].map(|x| x.parse().unwrap_or_else(|_| panic!("{goal}: {x}")));
                goals.push((part().to_owned(), target, seconds));
            }
        }
    }
    if goals.is_empty() {
        goals = GOALS.iter().map(|(name, target, seconds)| ((*name).to_owned(), *target, *seconds)).collect();
    }
    for (name, target, seconds) in goals {
        let Some(problem) = load(&name) else {
            eprintln!("SKIPPED: {name}: set QORUS_QUBO_DIR to the folder that has {name}.txt");
            continue;
        };
        let mut params = SolveParams {
            method,
            threads,
            time_limit: Some(Duration::from_secs_f64(seconds)),
            target_energy: Some(target),
            ..SolveParams::default()
        };
        let (mut times, mut values, mut setups, mut speeds) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for seed in 0..seeds {
            params.seed = seed;
            let start = Instant::now();
            let mut solver = Solver::new(&problem, &params).unwrap_or_else(|e| panic!("{name}: {e}"));
            let built = start.elapsed();
            let mut first = None;
            let mut watch = |progress: &Progress| {
                first.get_or_insert(progress.elapsed);
                Control::Continue
            };
            let outcome = solver.solve(&mut watch).unwrap_or_else(|e| panic!("{name}: {e}"));
            values.push(outcome.best);
            let hit = outcome.stopped == Stopped::Target;
            times.push(if hit { outcome.time_to_best.as_secs_f64() } else { f64::INFINITY });
            setups.push((built + first.unwrap_or(outcome.total)).as_secs_f64());
            speeds.push(outcome.proposals as f64 / outcome.total.as_secs_f64());
        }
        for list in [&mut times, &mut values, &mut setups, &mut speeds] {
            list.sort_by(f64::total_cmp);
        }
        let hits = times.iter().filter(|t| t.is_finite()).count();
        let at = |list: &[f64], share: usize| {
            let x = list[(list.len() - 1) * share / 100];
            if x.is_finite() { format!("{x:.6}") } else { "null".to_owned() }
        };
        println!(
            "{{\"instance\": \"{name}\", \"method\": \"{}\", \"target\": {target}, \"limit_s\": {seconds}, \"seeds\": {seeds}, \
             \"hits\": {hits}, \"median_s\": {}, \"p90_s\": {}, \"best\": {}, \"median\": {}, \"first_sweep_s\": {}, \
             \"proposals_per_s\": {:.0}}}",
            method.name(),
            at(&times, 50),
            at(&times, 90),
            values[values.len() - 1],
            values[values.len() / 2],
            at(&setups, 50),
            speeds[speeds.len() / 2],
        );
    }
}
