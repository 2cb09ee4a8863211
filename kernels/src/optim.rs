//! The numbers of one optimizer step, computed once for all elements.

/// What is done to a gradient before anything else: `g = clamp(g * scale, limit) + l2 * w + l1 * sign(w)`.
#[derive(Clone, Copy, Debug)]
pub struct Intake<R = f32> {
    /// The factor of norm clipping and of accumulation.
    pub scale: R,
    /// The greatest magnitude that passes; infinity for any.
    pub limit: R,
    /// Of the penalty |w|, of whose gradient at 0 nothing is taken.
    pub l1: R,
    /// Of the penalty w^2 / 2: decay that goes through the moments.
    pub l2: R,
}

/// One step of gradient descent: `b = momentum * b + g; w -= rate * b`, with Nesterov's momentum
/// `w -= rate * (g + momentum * b)`.
#[derive(Clone, Copy, Debug)]
pub struct SgdStep<R = f32> {
    /// What is done to the gradient first.
    pub intake: Intake<R>,
    /// The learning rate.
    pub rate: R,
    /// 0 for none, when there is no buffer either.
    pub momentum: R,
    /// Whether the momentum is Nesterov's.
    pub nesterov: bool,
}

/// One step of Adam: `m += rest1 * (g - m); v = beta2 * v + rest2 * g^2; w -= decay * w;
/// w -= rate * m / (root * sqrt(v) + eps)`.
#[derive(Clone, Copy, Debug)]
pub struct AdamStep<R = f32> {
    /// What is done to the gradient first.
    pub intake: Intake<R>,
    /// `1 - beta1`.
    pub rest1: R,
    /// The decay of the second moment.
    pub beta2: R,
    /// `1 - beta2`.
    pub rest2: R,
    /// 1 over the square root of the second moment's bias, `1 - beta2^t`.
    pub root: R,
    /// Added to the square root.
    pub eps: R,
    /// The learning rate over the first moment's bias, `1 - beta1^t`.
    pub rate: R,
    /// The learning rate times the decay that bypasses the moments. Taken away as a product, because 1 less it would round.
    pub decay: R,
}
