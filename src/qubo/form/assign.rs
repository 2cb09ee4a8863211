//! Assigning one of several options to each of n items under a total budget: the least loss that the budget buys, as when each layer of
//! a model gets a width of bits or a rank.

use super::model::{Formulated, Model};
use super::penalty::{self, Slack};
use super::weights::{Weights, common};
use crate::error::{Result, fail};
use crate::qubo::problem::Sense;

/// What may be chosen for an item.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// Its item, from 0.
    pub item: usize,
    /// What it loses.
    pub loss: f64,
    /// What it costs.
    pub cost: f64,
}

/// Items and their options under a budget.
#[derive(Clone, Debug)]
pub struct Items {
    choices: Vec<Choice>,
    /// The options of each item.
    of: Vec<Vec<usize>>,
    cost: Weights,
}

impl Items {
    /// Items 0 to the greatest that an option names; each must have one. Variable i of the problem is option i.
    ///
    /// Errors: `InvalidArgument` for an item without options, and when even the cheapest options together cost more than the budget;
    /// `NotFinite` for a loss.
    pub fn new(choices: Vec<Choice>, budget: f64) -> Result<Items> {
        let n = choices.iter().map(|c| c.item + 1).max().unwrap_or(0);
        if n > choices.len() {
            fail!(InvalidArgument, "{} options for items up to {}: each item needs one", choices.len(), n - 1);
        }
        let mut of = vec![Vec::new(); n];
        for (at, choice) in choices.iter().enumerate() {
            if !choice.loss.is_finite() {
                fail!(NotFinite, "option {at} loses {}: give a finite number", choice.loss);
            }
            of[choice.item].push(at);
        }
        if let Some(item) = of.iter().position(Vec::is_empty) {
            fail!(InvalidArgument, "item {item} has no options: each needs one");
        }
        let costs: Vec<f64> = choices.iter().map(|c| c.cost).collect();
        let cost = Weights::new(&costs, budget)?;
        let items = Items { choices, of, cost };
        let least: u64 = items.of.iter().map(|o| items.cost.parts[items.cheapest(o)]).sum();
        if least > items.cost.limit {
            let least = items.cost.value(least);
            fail!(InvalidArgument, "the cheapest options cost {least} together, the budget is {budget}: give more");
        }
        Ok(items)
    }

    /// The number of options, which are the variables.
    pub fn len(&self) -> usize {
        self.choices.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.choices.is_empty()
    }

    /// The cheapest of some options; of those the one that loses least.
    fn cheapest(&self, options: &[usize]) -> usize {
        let key = |&a: &usize, &b: &usize| {
            let cost = self.cost.parts[a].cmp(&self.cost.parts[b]);
            cost.then(self.choices[a].loss.total_cmp(&self.choices[b].loss))
        };
        options.iter().copied().min_by(key).unwrap_or(0)
    }

    /// The choice, to be minimised.
    ///
    /// Its penalties suffice: losses are counted from each item's least, so none is negative; then an item without exactly one option
    /// must cost more than all items' greatest losses together, and a part of the budget too much more than what one item can gain,
    /// since each exchange for the cheapest option gives back a part at least.
    pub fn choose(&self, slack: Slack) -> Result<Formulated> {
        let mut model = Model::new(self.len(), Sense::Minimize);
        let (mut all, mut greatest) = (0.0, 0.0f64);
        for options in &self.of {
            let losses = || options.iter().map(|&o| self.choices[o].loss);
            let (least, most) = (losses().fold(f64::INFINITY, f64::min), losses().fold(f64::NEG_INFINITY, f64::max));
            model.constant(least);
            all += most - least;
            greatest = greatest.max(most - least);
            for &o in options {
                model.term(o as u32, o as u32, self.choices[o].loss - least)?;
            }
        }
        for options in &self.of {
            let vars: Vec<u32> = options.iter().map(|&o| o as u32).collect();
            model.one_hot(&vars)?;
            model.suffices(penalty::above(all));
        }
        // A constant taken from all costs of an item changes nothing once it has one option, and leaves smaller numbers.
        let mut weights = Vec::new();
        let mut limit = self.cost.limit;
        for options in &self.of {
            let base = self.cost.parts[self.cheapest(options)];
            limit -= base;
            weights.extend(options.iter().map(|&o| (o as u32, self.cost.parts[o] - base)));
        }
        weights.retain(|w| w.1 > 0);
        let slack = match slack {
            Slack::Unbalanced(None) => {
                let unit = common(weights.iter().map(|w| w.1));
                let saved =
                    |o: usize| self.choices[self.cheapest(&self.of[self.choices[o].item])].loss - self.choices[o].loss;
                let gains = weights.iter().map(|&(o, w)| (saved(o as usize), w / unit)).collect();
                Slack::Unbalanced(Some(penalty::unbalanced(gains, limit / unit)))
            }
            given => given,
        };
        model.budget(weights, limit)?;
        model.suffices(penalty::above(greatest));
        model.formulate(slack)
    }

    /// The baseline: everything at its cheapest, then step by step the exchange that saves most loss for its cost and can still be paid.
    pub fn greedy(&self) -> Vec<u8> {
        let mut now: Vec<usize> = self.of.iter().map(|options| self.cheapest(options)).collect();
        let mut left = self.cost.limit - now.iter().map(|&o| self.cost.parts[o]).sum::<u64>();
        loop {
            let mut best: Option<(f64, usize, usize)> = None;
            for (item, &held) in now.iter().enumerate() {
                for &o in &self.of[item] {
                    let saved = self.choices[held].loss - self.choices[o].loss;
                    let more = self.cost.parts[o].saturating_sub(self.cost.parts[held]);
                    if saved > 0.0 && more <= left {
                        let score = saved / more.max(1) as f64 * if more == 0 { 1e9 } else { 1.0 };
                        if best.is_none_or(|b| score > b.0) {
                            best = Some((score, item, o));
                        }
                    }
                }
            }
            let Some((_, item, o)) = best else { break };
            left = left + self.cost.parts[now[item]] - self.cost.parts[o];
            now[item] = o;
        }
        let mut x = vec![0; self.len()];
        now.iter().for_each(|&o| x[o] = 1);
        x
    }

    /// What an assignment costs, in the numbers given.
    pub fn cost(&self, x: &[u8]) -> f64 {
        self.choices.iter().zip(x).filter(|(_, v)| **v != 0).map(|(c, _)| c.cost).sum()
    }
}
