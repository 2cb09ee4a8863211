//! The ways of solving, a file for each. Those that search are handed a ground, a state and a run; [`auto`] makes a portfolio of them.

pub(crate) mod anneal;
pub(crate) mod auto;
pub(crate) mod contract;
pub(crate) mod enumerate;
pub(crate) mod host;
pub(crate) mod population;
pub(crate) mod qaoa;
pub(crate) mod qasm;
pub(crate) mod quantum;
pub(crate) mod relink;
pub(crate) mod tabu;
pub(crate) mod tempering;
