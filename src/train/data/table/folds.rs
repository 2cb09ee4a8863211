//! Which rows are learned from and which are kept, each class in the same share, by a seed.

use crate::error::{Result, fail, try_vec};
use crate::train::data::shuffle::Permutation;

/// For each row the fold it is kept in, from 0 to `folds` - 1. `strata` says which rows are alike (their class): each fold has
/// the same number of each kind, or one more, and folds differ by one row at most in all.
///
/// Errors: `InvalidArgument` for fewer than 2 folds or fewer rows than folds; `OutOfMemory`.
pub fn folds(strata: &[u32], folds: u32, seed: u64) -> Result<Vec<u32>> {
    if folds < 2 || strata.len() < folds as usize {
        fail!(InvalidArgument, "{folds} folds of {} rows: give 2 at least, and a row for each", strata.len());
    }
    let mut fold = try_vec(strata.len(), "rows")?;
    fold.resize(strata.len(), 0);
    for (dealt, row) in dealt(strata, seed)?.into_iter().enumerate() {
        fold[row] = (dealt % folds as usize) as u32;
    }
    Ok(fold)
}

/// For each row whether it is kept for validation: `share` of each kind of rows, rounded, at least one of each kind that has two.
///
/// Errors: `InvalidArgument` for a share that is not between 0 and 1; `OutOfMemory`.
pub fn held_out(strata: &[u32], share: f64, seed: u64) -> Result<Vec<bool>> {
    if !(0.0..1.0).contains(&share) {
        fail!(InvalidArgument, "the share for validation is {share}: give a number from 0 to below 1");
    }
    let mut kept = try_vec(strata.len(), "rows")?;
    kept.resize(strata.len(), false);
    let order = dealt(strata, seed)?;
    for kind in order.chunk_by(|&a, &b| strata[a] == strata[b]) {
        let least = usize::from(share > 0.0 && kind.len() > 1);
        let n = ((kind.len() as f64 * share).round() as usize).clamp(least, kind.len().saturating_sub(1).max(least));
        kind.iter().take(n).for_each(|&row| kept[row] = true);
    }
    Ok(kept)
}

/// The rows, kind after kind, each kind shuffled.
fn dealt(strata: &[u32], seed: u64) -> Result<Vec<usize>> {
    let order = Permutation::new(strata.len() as u64, seed, 0);
    let mut rows = try_vec(strata.len(), "rows")?;
    rows.extend((0..order.len()).filter_map(|place| order.get(place)).map(|row| row as usize));
    // Stable, so that rows of a kind stay shuffled.
    rows.sort_by_key(|&row| strata[row]);
    Ok(rows)
}

/// A weight for each class that makes all count the same: rows / (classes x rows of the class); 0 for a class without rows.
pub fn class_weights(classes: usize, of_rows: impl Iterator<Item = u32>) -> Result<Vec<f32>> {
    let mut counts = try_vec(classes, "classes")?;
    counts.resize(classes, 0u64);
    for class in of_rows {
        match counts.get_mut(class as usize) {
            Some(count) => *count += 1,
            None => fail!(InvalidArgument, "class {class} of {classes}"),
        }
    }
    let all: u64 = counts.iter().sum();
    let there = counts.iter().filter(|c| **c > 0).count();
    let weight = |&c: &u64| if c == 0 { 0.0 } else { (all as f64 / (there as f64 * c as f64)) as f32 };
    Ok(counts.iter().map(weight).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_are_even_in_every_kind() {
        let strata: Vec<u32> = (0..103).map(|i| u32::from(i % 7 == 0) + 2 * u32::from(i % 11 == 0)).collect();
        for k in [2, 3, 5, 10] {
            let fold = folds(&strata, k, 9).unwrap();
            assert_eq!(fold, folds(&strata, k, 9).unwrap());
            assert_ne!(fold, folds(&strata, k, 10).unwrap());
            let even = |rows: &dyn Fn(usize) -> bool| {
                let counts: Vec<usize> =
                    (0..k).map(|f| (0..103).filter(|&r| rows(r) && fold[r] == f).count()).collect();
                assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
            };
            even(&|_| true);
            (0..4).for_each(|kind| even(&|row| strata[row] == kind));
        }
        assert!(folds(&strata, 1, 0).is_err() && folds(&[0, 1], 3, 0).is_err());
    }

    #[test]
    fn each_kind_is_kept_in_its_share() {
        let strata: Vec<u32> = (0..200).map(|i| if i < 150 { 5 } else { u32::from(i < 198) }).collect();
        let kept = held_out(&strata, 0.2, 3).unwrap();
        let count = |kind| (0..200).filter(|&r| strata[r] == kind && kept[r]).count();
        assert_eq!([count(5), count(1), count(0)], [30, 10, 1]);
        assert!(!held_out(&strata, 0.0, 3).unwrap().contains(&true));
        assert!(!held_out(&[7], 0.9, 3).unwrap()[0], "a kind of one row is learned from");
        assert!(held_out(&strata, 1.0, 3).is_err() && held_out(&strata, f64::NAN, 3).is_err());
    }

    #[test]
    fn weights_even_the_classes_out() {
        assert_eq!(class_weights(3, [0, 0, 0, 2].into_iter()).unwrap(), [4.0 / 6.0, 0.0, 2.0]);
        assert!(class_weights(2, [2].into_iter()).is_err());
    }
}
