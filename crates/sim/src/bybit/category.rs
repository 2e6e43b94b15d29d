//! Which of Bybit's markets a simulated venue is: the path of its socket and the `category` of its requests.

use crate::config::VenueKind;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Category {
    Spot,
    Linear,
    Inverse,
}

impl Category {
    /// Those of other venues count as spot: nobody asks for them.
    pub const fn of(kind: VenueKind) -> Self {
        match kind {
            VenueKind::BybitLinear => Self::Linear,
            VenueKind::BybitInverse => Self::Inverse,
            _ => Self::Spot,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Spot => "spot",
            Self::Linear => "linear",
            Self::Inverse => "inverse",
        }
    }

    pub const fn is_derivative(self) -> bool {
        !matches!(self, Self::Spot)
    }

    /// Rows of one `recent-trade` answer: the most, and without a `limit`.
    pub const fn recent(self) -> (u64, u64) {
        if self.is_derivative() { (1_000, 500) } else { (60, 60) }
    }
}
