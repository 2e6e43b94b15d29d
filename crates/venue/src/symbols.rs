//! The symbols of one session in the venue's spelling, and symbols in addresses.

use wholetape_model::InstrumentIx;

use crate::plan::PlanError;
pub(crate) use wholetape_model::percent_decode;

/// A symbol in a query: everything but letters, digits and `-_.~` as `%XX`.
pub(crate) fn percent_encode(symbol: &str) -> String {
    let mut out = String::with_capacity(symbol.len());
    for b in symbol.bytes() {
        if b.is_ascii_alphanumeric() || b"-_.~".contains(&b) {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}

/// The largest index accepted: the table is flat.
const INDEX_MAX: InstrumentIx = 1 << 20;
/// A capture or a hostile frame cannot make the table grow without bound.
const DISCOVER_MAX: usize = 1 << 16;
/// No venue symbol is longer: dYdX's carry a 44 letter address.
const SYMBOL_MAX: usize = 96;

/// Symbols of one session: text → index by open addressing, index → text by position.
#[derive(Debug, Default)]
pub struct SymbolTable {
    by_ix: Vec<Option<Box<str>>>,
    /// Index + 1; 0 is empty. Length is a power of two, at most half full.
    slots: Vec<u32>,
    known: usize,
}

impl SymbolTable {
    /// # Errors
    /// `IndexTwice`, `SymbolTwice`, `BadSymbol`, `BadIndex`.
    pub fn new(instruments: &[(InstrumentIx, String)]) -> Result<Self, PlanError> {
        let mut table = Self::default();
        for (ix, symbol) in instruments {
            if *ix >= INDEX_MAX {
                return Err(PlanError::BadIndex(*ix));
            }
            if !is_symbol(symbol) {
                return Err(PlanError::BadSymbol(symbol.clone()));
            }
            if let Some(first) = table.symbol(*ix) {
                return Err(PlanError::IndexTwice { ix: *ix, first: first.into(), second: symbol.clone() });
            }
            if table.find(symbol).is_some() {
                return Err(PlanError::SymbolTwice(symbol.clone()));
            }
            table.put(*ix, symbol);
        }
        Ok(table)
    }

    #[inline]
    #[must_use]
    pub fn find(&self, symbol: &str) -> Option<InstrumentIx> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = hash(symbol.as_bytes()) as usize & mask;
        loop {
            let slot = *self.slots.get(at)?;
            let ix = slot.checked_sub(1)?;
            if self.symbol(ix) == Some(symbol) {
                return Some(ix);
            }
            at = (at + 1) & mask;
        }
    }

    /// The index of `symbol`, new if need be; `None` where it is no symbol or the table is full.
    pub fn find_or_add(&mut self, symbol: &str) -> Option<InstrumentIx> {
        if let Some(ix) = self.find(symbol) {
            return Some(ix);
        }
        if !is_symbol(symbol) || self.known >= DISCOVER_MAX {
            return None;
        }
        let ix = self.by_ix.len() as InstrumentIx;
        self.put(ix, symbol);
        Some(ix)
    }

    #[inline]
    #[must_use]
    pub fn symbol(&self, ix: InstrumentIx) -> Option<&str> {
        self.by_ix.get(ix as usize)?.as_deref()
    }

    /// Takes the symbol of `ix` out: it is not found any more, and its index is not given again.
    pub fn forget(&mut self, ix: InstrumentIx) -> Option<Box<str>> {
        self.by_ix.get_mut(ix as usize)?.take()
    }

    /// One beyond the largest index.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_ix.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known == 0
    }

    /// How many symbols there are.
    #[must_use]
    pub const fn known(&self) -> usize {
        self.known
    }

    /// In order of index.
    pub fn iter(&self) -> impl Iterator<Item = (InstrumentIx, &str)> {
        self.by_ix.iter().enumerate().filter_map(|(i, s)| s.as_deref().map(|s| (i as InstrumentIx, s)))
    }

    fn put(&mut self, ix: InstrumentIx, symbol: &str) {
        if self.by_ix.len() <= ix as usize {
            self.by_ix.resize(ix as usize + 1, None);
        }
        self.by_ix[ix as usize] = Some(symbol.into());
        self.known += 1;
        if self.known * 2 > self.slots.len() {
            let size = (self.known * 4).next_power_of_two().max(16);
            self.slots = vec![0; size];
            for i in 0..self.by_ix.len() {
                if let Some(symbol) = &self.by_ix[i] {
                    let h = hash(symbol.as_bytes());
                    place(&mut self.slots, h, i as u32);
                }
            }
        } else {
            place(&mut self.slots, hash(symbol.as_bytes()), ix);
        }
    }
}

fn place(slots: &mut [u32], hash: u64, ix: u32) {
    let mask = slots.len() - 1;
    let mut at = hash as usize & mask;
    while slots[at] != 0 {
        at = (at + 1) & mask;
    }
    slots[at] = ix + 1;
}

/// What no venue's symbol holds. `/` is Kraken's (`BTC/USD`), `,` dYdX's.
fn is_symbol(text: &str) -> bool {
    !text.is_empty() && text.len() <= SYMBOL_MAX && !text.contains(|c: char| c.is_control() || " \"\\@?&".contains(c))
}

/// Multiplicative, eight bytes at a time: symbols are short, and the table is never full enough for quality to matter.
#[inline]
fn hash(bytes: &[u8]) -> u64 {
    const K: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut h = bytes.len() as u64;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let mut w = [0; 8];
        w.copy_from_slice(chunk);
        h = (h ^ u64::from_le_bytes(w)).wrapping_mul(K);
        h ^= h >> 32;
    }
    let mut tail = 0_u64;
    for &b in chunks.remainder() {
        tail = tail << 8 | u64::from(b);
    }
    h = (h ^ tail).wrapping_mul(K);
    h ^ h >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_put_among_many() {
        let all: Vec<_> = (0..2_000_u32).map(|i| (i * 3, format!("SYM{i}USDT"))).collect();
        let mut table = SymbolTable::new(&all).unwrap();
        for (ix, symbol) in &all {
            assert_eq!(table.find(symbol), Some(*ix));
            assert_eq!(table.symbol(*ix), Some(symbol.as_str()));
        }
        assert_eq!(table.find("SYM2000USDT"), None);
        assert_eq!(table.symbol(1), None);
        assert_eq!(table.find_or_add("NEW"), Some(1_999 * 3 + 1));
        assert_eq!(table.find_or_add("NEW"), Some(1_999 * 3 + 1));
        assert_eq!(table.find_or_add("NO NAME"), None);
        assert_eq!(SymbolTable::default().find("X"), None);
        assert_eq!(table.forget(3).as_deref(), Some("SYM1USDT"));
        assert_eq!((table.forget(3), table.find("SYM1USDT"), table.symbol(3)), (None, None, None));
        assert!(all.iter().filter(|(ix, _)| *ix != 3).all(|(ix, symbol)| table.find(symbol) == Some(*ix)));
    }

    #[test]
    fn a_plan_that_names_twice_is_refused() {
        let two =
            |a: (u32, &str), b: (u32, &str)| SymbolTable::new(&[(a.0, a.1.into()), (b.0, b.1.into())]).unwrap_err();
        assert!(matches!(two((0, "A"), (0, "B")), PlanError::IndexTwice { .. }));
        assert!(matches!(two((0, "A"), (1, "A")), PlanError::SymbolTwice(_)));
        assert!(matches!(two((0, "A"), (u32::MAX, "B")), PlanError::BadIndex(_)));
        assert!(matches!(two((0, "A"), (1, "a@b")), PlanError::BadSymbol(_)));
    }
}
