//! Formulations against the plain question, all assignments of generated cases enumerated: the best assignment of a problem keeps the
//! constraints and is the best of those that do.

use qorus::qubo::form::features::{Information, binned};
use qorus::qubo::form::{Formulated, Model, Slack, Weights, assign, maxcut, subset};
use qorus::qubo::{Problem, Sense};
use qorus::{Code, rng};

/// Random numbers, one after another.
struct Draw(u64, u64);

impl Draw {
    fn uniform(&mut self) -> f64 {
        self.1 += 1;
        rng::uniform(self.0, 7, self.1)
    }

    fn whole(&mut self, low: i64, high: i64) -> i64 {
        low + (self.uniform() * (high - low + 1) as f64) as i64
    }
}

fn state(n: usize, at: usize) -> Vec<u8> {
    (0..n).map(|i| (at >> i & 1) as u8).collect()
}

/// The best assignment of a problem, by Gray code over at most 22 variables.
fn best(problem: &Problem) -> (Vec<u8>, f64) {
    let n = problem.len();
    assert!(n <= 22, "{n} variables are too many to enumerate");
    let rows: Vec<Vec<(u32, f64)>> = (0..n).map(|i| problem.neighbours(i).collect()).collect();
    let (mut x, mut value) = (vec![0u8; n], problem.offset());
    let (mut found, mut top) = (x.clone(), value);
    for at in 1..1usize << n {
        let i = at.trailing_zeros() as usize;
        let gain: f64 = rows[i].iter().filter(|(j, _)| x[*j as usize] == 1).map(|c| c.1).sum();
        let gain = gain + problem.linear(i);
        value += if x[i] == 1 { -gain } else { gain };
        x[i] ^= 1;
        if problem.sense().better(value, top) {
            (found, top) = (x.clone(), value);
        }
    }
    let exact = problem.energy(&found);
    assert!((exact - top).abs() <= 1e-6 * exact.abs().max(1.0), "{exact} {top}");
    (found, exact)
}

/// The best value of a model among the assignments that keep its constraints.
fn plain(model: &Model, sense: Sense) -> Option<f64> {
    let all = (0..1usize << model.len()).map(|at| state(model.len(), at));
    let values = all.filter(|x| model.keeps(x)).map(|x| model.value(&x));
    values.reduce(|a, b| if sense.better(b, a) { b } else { a })
}

/// Holds the problem's best to the model's; gives the model's variables of it.
#[track_caller]
fn same_best(formulated: &Formulated, sense: Sense) -> Vec<u8> {
    let model = &formulated.model;
    let (x, value) = best(&formulated.problem);
    let own = &x[..model.len()];
    assert_eq!(model.check(own), [], "the best assignment breaks a constraint");
    let (expected, found) = (plain(model, sense).unwrap(), model.value(own));
    let close = |a: f64, b: f64| (a - b).abs() <= 1e-9 * a.abs().max(1.0);
    assert!(close(expected, found), "{expected} expected, {found} found");
    // Penalties of kept constraints are 0, and the slack bits of a state to begin with are right.
    assert!(close(value, found), "{value} of the problem, {found} of the model");
    assert!(close(formulated.problem.energy(&formulated.complete(own).unwrap()), found));
    own.to_vec()
}

fn objective(draw: &mut Draw, n: usize, sense: Sense, whole: bool) -> Model {
    let mut model = Model::new(n, sense);
    for i in 0..n as u32 {
        for j in 0..=i {
            let value = if whole { draw.whole(-9, 9) as f64 } else { 4.0 * draw.uniform() - 2.0 };
            if draw.uniform() < 0.6 {
                model.term(j, i, value).unwrap();
            }
        }
    }
    model.constant(3.0);
    model
}

#[test]
fn penalties_suffice_for_counts() {
    for seed in 0..40 {
        let draw = &mut Draw(seed, 0);
        let sense = if seed % 2 == 0 { Sense::Minimize } else { Sense::Maximize };
        let n = 8;
        let all: Vec<u32> = (0..n as u32).collect();
        let mut exactly = objective(draw, n, sense, seed % 3 == 0);
        exactly.exactly(&all, seed % 9).unwrap();
        let x = same_best(&exactly.formulate(Slack::Bits).unwrap(), sense);
        assert_eq!(x.iter().map(|&v| u64::from(v)).sum::<u64>(), seed % 9);
        let mut hot = objective(draw, n, sense, true);
        hot.one_hot(&all[..4]).unwrap();
        hot.one_hot(&all[4..]).unwrap();
        same_best(&hot.formulate(Slack::Bits).unwrap(), sense);
        let mut most = objective(draw, n, sense, false);
        most.at_most(&all, seed % 8).unwrap();
        same_best(&most.formulate(Slack::Bits).unwrap(), sense);
        // Variables in several constraints.
        let mut over = objective(draw, n, sense, true);
        over.exactly(&all[..5], 2).unwrap();
        over.at_most(&all[2..], 3).unwrap();
        over.one_hot(&all[4..]).unwrap();
        same_best(&over.formulate(Slack::Bits).unwrap(), sense);
    }
}

#[test]
fn penalties_suffice_for_budgets() {
    for seed in 0..40 {
        let draw = &mut Draw(seed, 1 << 20);
        let (n, unit) = (9, [1, 10, 7][seed as usize % 3]);
        let mut model = objective(draw, n, Sense::Maximize, seed % 2 == 0);
        let weights: Vec<(u32, u64)> = (0..n as u32).map(|i| (i, unit * draw.whole(0, 20) as u64)).collect();
        let limit = draw.whole(0, 60) as u64 * unit / 2;
        model.budget(weights.clone(), limit).unwrap();
        let formulated = model.formulate(Slack::Bits).unwrap();
        assert!(formulated.problem.len() <= n + 5, "units were not found");
        let x = same_best(&formulated, Sense::Maximize);
        let used: u64 = weights.iter().filter(|w| x[w.0 as usize] != 0).map(|w| w.1).sum();
        assert!(used <= limit);
    }
    // A budget that everything fits asks for no variables.
    let mut model = objective(&mut Draw(1, 0), 4, Sense::Minimize, true);
    model.budget(vec![(0, 3), (2, 4)], 7).unwrap();
    let formulated = model.formulate(Slack::Bits).unwrap();
    assert_eq!(formulated.problem.len(), 4);
    same_best(&formulated, Sense::Minimize);
}

/// Without slack bits nothing is guaranteed; on knapsacks as they come the best assignment still keeps the budget nearly always and
/// is near the best.
#[test]
fn unbalanced_penalties_are_near_without_more_variables() {
    let (mut kept, mut share, cases) = (0, 0.0, 100);
    for seed in 0..cases {
        let draw = &mut Draw(seed, 2 << 20);
        let n = 12;
        let mut model = Model::new(n, Sense::Maximize);
        let weights: Vec<(u32, u64)> = (0..n as u32).map(|i| (i, draw.whole(5, 30) as u64)).collect();
        for i in 0..n as u32 {
            model.term(i, i, draw.whole(5, 40) as f64).unwrap();
        }
        model.budget(weights.clone(), weights.iter().map(|w| w.1).sum::<u64>() / 2).unwrap();
        let formulated = model.formulate(Slack::Unbalanced(None)).unwrap();
        assert_eq!(formulated.problem.len(), n);
        let (x, _) = best(&formulated.problem);
        if formulated.model.keeps(&x) {
            kept += 1;
            share += formulated.model.value(&x) / plain(&formulated.model, Sense::Maximize).unwrap();
        }
    }
    println!("kept {kept} of {cases}, on average {} of the best value", share / f64::from(kept));
    assert!(kept >= 75 && share / f64::from(kept) > 0.95, "{kept} kept, {share}");
}

#[test]
fn maxcut_is_the_weight_between_the_sides() {
    let draw = &mut Draw(5, 0);
    let (n, mut edges) = (9, Vec::new());
    for i in 0..n as u32 {
        edges.extend((0..i).map(|j| (j, i, draw.whole(-5, 9) as f64)));
    }
    edges.push((0, 1, 2.0));
    let problem = maxcut(n, &edges).unwrap();
    for at in 0..1 << n {
        let x = state(n, at);
        let cut: f64 = edges.iter().filter(|e| x[e.0 as usize] != x[e.1 as usize]).map(|e| e.2).sum();
        assert_eq!(problem.energy(&x), cut);
    }
    assert_eq!(maxcut(2, &[(1, 1, 1.0)]).err().unwrap().code(), Code::InvalidArgument);
}

/// Columns of which two say the target together, and others repeat one of them: greedy takes what repeats, the whole does not.
#[test]
fn features_that_say_the_same_are_not_taken_twice() {
    let draw = &mut Draw(3, 0);
    let (mut columns, mut target) = (vec![Vec::new(); 8], Vec::new());
    for _ in 0..600 {
        let (a, b) = (draw.whole(0, 3), draw.whole(0, 3));
        let noisy = |draw: &mut Draw, v: i64| if draw.uniform() < 0.1 { draw.whole(0, 3) } else { v };
        let row = [a, noisy(draw, a), noisy(draw, a), b, noisy(draw, b), draw.whole(0, 3), draw.whole(0, 1), a / 2];
        columns.iter_mut().zip(row).for_each(|(column, v)| column.push(v as u32));
        target.push((2 * a + b) as u32);
    }
    let information = Information::of(&columns, &target).unwrap();
    for k in 1..=8 {
        let chosen = information.choose(k).unwrap();
        let x = same_best(&chosen, Sense::Maximize);
        let greedy = information.greedy(k);
        assert!(chosen.model.keeps(&greedy));
        assert!(chosen.model.value(&x) >= chosen.model.value(&greedy) - 1e-12);
        if k == 2 {
            assert_eq!(x, [1, 0, 0, 1, 0, 0, 0, 0]);
        }
    }
    assert!(information.choose(0).is_err() && information.choose(9).is_err());
    assert_eq!(binned(&[3.0, 1.0, 2.0, 4.0], 2).unwrap(), [1, 0, 0, 1]);
}

#[test]
fn subsets_are_diverse_and_paid_for() {
    let mut ahead = 0;
    for seed in 0..20 {
        let draw = &mut Draw(seed, 3 << 20);
        let n = 10;
        let vectors: Vec<f64> = (0..2 * n).map(|_| draw.uniform()).collect();
        let quality = (0..n).map(|_| 1.0 + draw.uniform()).collect();
        let cost: Vec<f64> = (0..n).map(|_| draw.whole(1, 12) as f64 / 2.0).collect();
        let cost = Weights::new(&cost, 9.5).unwrap();
        let similarity = subset::cosine(&vectors, 2).unwrap();
        let rows = subset::Rows { quality, cost, similarity, diversity: 0.4 };
        let chosen = rows.choose(Slack::Bits).unwrap();
        let x = same_best(&chosen, Sense::Maximize);
        let greedy = rows.greedy();
        assert!(chosen.model.keeps(&greedy));
        let (best, greedy) = (chosen.model.value(&x), chosen.model.value(&greedy));
        assert!(best >= greedy - 1e-12 && greedy > 0.0);
        ahead += u32::from(best > greedy + 1e-9);
        let smooth = rows.choose(Slack::Unbalanced(None)).unwrap();
        assert_eq!(smooth.problem.len(), n);
    }
    assert!(ahead > 2, "greedy was as good {} times", 20 - ahead);
    assert!(subset::cosine(&[1.0; 5], 2).is_err());
}

#[test]
fn options_are_assigned_within_the_budget() {
    let mut ahead = 0;
    for seed in 0..20 {
        let draw = &mut Draw(seed, 4 << 20);
        let mut choices = Vec::new();
        for item in 0..5 {
            let (mut cost, mut loss) = (draw.whole(1, 3) as f64 / 2.0, 10.0 * draw.uniform());
            for _ in 0..3 {
                choices.push(assign::Choice { item, loss: loss - 2.0, cost });
                cost += draw.whole(1, 12) as f64 / 2.0;
                loss *= draw.uniform();
            }
        }
        let least: f64 = choices.iter().step_by(3).map(|c| c.cost).sum();
        let budget = least + 9.0;
        let items = assign::Items::new(choices, budget).unwrap();
        let chosen = items.choose(Slack::Bits).unwrap();
        let x = same_best(&chosen, Sense::Minimize);
        assert_eq!(x.iter().map(|&v| u32::from(v)).sum::<u32>(), 5);
        assert!(items.cost(&x) <= budget);
        let greedy = items.greedy();
        assert!(chosen.model.keeps(&greedy));
        let (best, greedy) = (chosen.model.value(&x), chosen.model.value(&greedy));
        assert!(best <= greedy + 1e-12);
        ahead += u32::from(best < greedy - 1e-9);
        assert!(items.choose(Slack::Unbalanced(None)).unwrap().problem.len() <= 15);
    }
    assert!(ahead > 1, "greedy was as good {} times", 20 - ahead);
    let one = |item, cost| assign::Choice { item, loss: 0.0, cost };
    for (choices, code) in [
        (vec![one(1, 1.0)], Code::InvalidArgument),
        (vec![one(0, 1.0), one(2, 1.0), one(2, 1.0)], Code::InvalidArgument),
        (vec![one(0, 5.0), one(1, 6.0)], Code::InvalidArgument),
        (vec![assign::Choice { item: 0, loss: f64::NAN, cost: 1.0 }], Code::NotFinite),
    ] {
        assert_eq!(assign::Items::new(choices, 10.0).err().unwrap().code(), code);
    }
    assert!(assign::Items::new(vec![assign::Choice { item: usize::MAX - 1, loss: 0.0, cost: 0.0 }], 1.0).is_err());
}

#[test]
fn wrong_models_are_told() {
    let mut model = Model::new(3, Sense::Minimize);
    let code = |r: qorus::Result<()>| r.unwrap_err().code();
    assert_eq!(code(model.term(0, 3, 1.0)), Code::InvalidArgument);
    assert_eq!(code(model.term(0, 1, f64::NAN)), Code::NotFinite);
    assert_eq!(code(model.exactly(&[0, 1], 3)), Code::InvalidArgument);
    assert_eq!(code(model.exactly(&[0, 1, 0], 1)), Code::InvalidArgument);
    assert_eq!(code(model.one_hot(&[])), Code::InvalidArgument);
    assert_eq!(code(model.at_most(&[5], 1)), Code::InvalidArgument);
    model.at_most(&[0, 1, 2], 1).unwrap();
    let broken = model.check(&[1, 1, 0]);
    assert_eq!(broken[0].to_string(), "constraint 0: 2, expected at most 1");
    assert!(model.clone().formulate(Slack::Unbalanced(Some((-1.0, 1.0)))).is_err());
    let formulated = model.formulate(Slack::Bits).unwrap();
    assert!(formulated.complete(&[1]).is_err());
}
