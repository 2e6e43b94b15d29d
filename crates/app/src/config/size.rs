//! `"64MiB"`: bytes as configuration writes them.

use serde::{Deserialize, Deserializer};

const UNITS: [(&str, u64); 8] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

impl Size {
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (digits, unit) = UNITS.iter().find_map(|(name, by)| Some((text.strip_suffix(name)?, *by)))?;
        let n: u64 = digits.trim().parse().ok()?;
        n.checked_mul(unit).map(Self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        Self::parse(&text)
            .ok_or_else(|| serde::de::Error::custom(format!("`{text}` is no size: write one like \"64MiB\"")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read() {
        assert_eq!(Size::parse("64MiB"), Some(Size(64 << 20)));
        assert_eq!(Size::parse("20 GiB"), Some(Size(20 << 30)));
        assert_eq!(Size::parse("7B"), Some(Size(7)));
        assert_eq!((Size::parse("64"), Size::parse("-1MiB"), Size::parse("99999999999TiB")), (None, None, None));
    }
}
