//! Variables whose value is known: a smaller problem, and the way back.

use super::Problem;
use crate::error::{Result, fail, try_vec};

/// Where the variables of a problem went when some were fixed.
pub struct Fixed {
    /// Number of each variable that is left, in the problem it came from.
    pub kept: Vec<u32>,
    /// The values of those that are fixed; 2 for those that are left.
    pub values: Vec<u8>,
}

impl Fixed {
    /// The assignment of the whole problem that an assignment of what is left belongs to. `Shape` unless the lengths are those
    /// of the two problems.
    pub fn expand(&self, x: &[u8], whole: &mut [u8]) -> Result<()> {
        if x.len() != self.kept.len() || whole.len() != self.values.len() {
            fail!(
                Shape,
                "assignments of {} and {} variables: {} are left of {}",
                x.len(),
                whole.len(),
                self.kept.len(),
                self.values.len()
            );
        }
        whole.copy_from_slice(&self.values);
        for (&i, &v) in self.kept.iter().zip(x) {
            whole[i as usize] = v;
        }
        Ok(())
    }
}

impl Problem {
    /// The problem that is left when variables have the values given, 0 or 1, each variable once or with the same value: its
    /// energies are those of the whole problem. `InvalidArgument` of an index or value out of range or a contradiction.
    pub fn fix(&self, values: &[(u32, u8)]) -> Result<(Problem, Fixed)> {
        let n = self.len();
        let mut known: Vec<u8> = try_vec(n, "variables")?;
        known.resize(n, 2);
        for &(i, v) in values {
            match known.get_mut(i as usize) {
                None => fail!(InvalidArgument, "variable {i} is to be fixed: there are {n}, counted from 0"),
                Some(_) if v > 1 => fail!(InvalidArgument, "variable {i} is to be {v}: give 0 or 1"),
                Some(old) if *old != 2 && *old != v => fail!(InvalidArgument, "variable {i} is fixed to both values"),
                Some(old) => *old = v,
            }
        }
        let mut kept: Vec<u32> = try_vec(n, "variables")?;
        kept.extend((0..n as u32).filter(|&i| known[i as usize] == 2));
        let (mut place, mut offset) = (try_vec::<u32>(n, "variables")?, self.offset());
        place.resize(n, 0);
        for (at, &i) in kept.iter().enumerate() {
            place[i as usize] = at as u32;
        }
        let mut triplets: Vec<(u32, u32, f64)> = try_vec(kept.len() + self.couplings(), "coefficients")?;
        // Sums of integers stay exact in i64; what is taken out of the problem is summed apart.
        let mut exact = 0i128;
        let mut add = |offset: &mut f64, v: f64| if self.is_exact() { exact += v as i128 } else { *offset += v };
        for i in 0..n {
            let of = |j: usize| known[j];
            match of(i) {
                0 => continue,
                1 => add(&mut offset, self.linear(i)),
                _ => triplets.push((place[i], place[i], self.linear(i))),
            }
            for (j, v) in self.neighbours(i).filter(|&(j, _)| of(j as usize) != 0) {
                let j = j as usize;
                match (of(i), of(j)) {
                    (1, 1) if i < j => add(&mut offset, v),
                    (2, 1) => triplets.push((place[i], place[i], v)),
                    (2, 2) if i < j => triplets.push((place[i], place[j], v)),
                    _ => {}
                }
                if triplets.len() == triplets.capacity() && triplets.try_reserve(triplets.len() + 1).is_err() {
                    fail!(OutOfMemory, "no memory for the coefficients of the fixed problem");
                }
            }
        }
        offset += exact as f64;
        let problem = Problem::from_triplets(kept.len(), &triplets, offset, self.sense())?;
        Ok((problem, Fixed { kept, values: known }))
    }
}
