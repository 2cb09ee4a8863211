//! The choice between products of f32 and faster ones with other bits.

/// What the factors of float products are rounded to; their sums are f32 in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Products {
    /// They stay what they are.
    #[default]
    F32,
    /// To bf16: where weights are stored so, and in the products of training. Other bits than those of f32, but again the same
    /// at every level and for any number of rows. Training's come at the rate of f32. Stored weights, which have half the bytes, are faster where
    /// reading them takes the time, and where the CPU multiplies two pairs of bf16 in less time than two numbers twice, which is not
    /// true of all that have the instruction.
    Bf16,
}

impl Products {
    /// The name used in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Products::F32 => "f32",
            Products::Bf16 => "bf16",
        }
    }
}
