//! Dropout: nothing in inference; in training each element is dropped with some probability, and the rest made larger.

/// Drops elements at random while a model is trained.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    /// The probability that an element is dropped, from 0 to less than 1.
    pub rate: f32,
    /// Tells the model's dropouts apart.
    pub stream: u16,
}

#[cfg(feature = "train")]
impl Dropout {
    /// y = x / (1 - rate) where it is kept, else 0; rows of `width`. The way back is the same function of the gradient.
    pub fn forward_train(
        &self,
        pass: &super::train::Pass,
        x: &[f32],
        width: usize,
        y: &mut [f32],
    ) -> crate::error::Result<()> {
        crate::ops::dropout::dropout(&pass.run.exec, pass.noise, self.stream, self.rate, x, width, y)
    }
}
