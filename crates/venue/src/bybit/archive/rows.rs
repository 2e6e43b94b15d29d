//! The rows of a file, line by line; where each column stands the header says.

use wholetape_model::{Side, TradeId, Ts};

use super::super::decode::TradeParts;
use super::super::limits::Market;
use crate::archive::lines::{Cell, Lines, split};
use crate::archive::{ArchiveError, Named, ReadRows, Row, Span};
use crate::rows::millis;
use crate::shape::bytes_hash;
use crate::twins::{Twins, named};

/// More columns than any file has.
const COLUMNS_MAX: usize = 16;

const TIME: usize = 0;
const SIDE: usize = 1;
const PRICE: usize = 2;
const SIZE: usize = 3;
const ID: usize = 4;
const RPI: usize = 5;
const SYMBOL: usize = 6;

/// What is read: its name in messages, what headers call it (lower case, without `_`), and whether it must be there.
type Column = (&'static str, &'static str, bool);

const CONTRACTS: [Column; 7] = [
    ("timestamp", "timestamp", true),
    ("side", "side", true),
    ("price", "price", true),
    ("size", "size", true),
    ("trdMatchID", "trdmatchid", true),
    ("RPI", "rpi", false),
    ("symbol", "symbol", true),
];
const SPOT: [Column; 6] = [
    ("timestamp", "timestamp", true),
    ("side", "side", true),
    ("price", "price", true),
    ("volume", "volume", true),
    ("id", "id", true),
    ("rpi", "rpi", false),
];

/// Reads a file's lines, in order.
#[derive(Debug, Clone)]
pub struct Rows {
    lines: Lines,
    symbol: String,
    span: Span,
    is_spot: bool,
    columns: &'static [Column],
    /// Where each of `columns` stands, once the header was read.
    places: Option<[Option<usize>; CONTRACTS.len()]>,
    /// How many columns the header has.
    width: usize,
    /// Time and line of the row before.
    last: Option<(u64, u64)>,
    twins: Twins,
}

impl Rows {
    #[must_use]
    pub fn new(named: &Named, market: Market) -> Self {
        let is_spot = market == Market::Spot;
        Self {
            lines: Lines::new(&named.file),
            symbol: named.symbol.clone(),
            span: named.span,
            is_spot,
            columns: if is_spot { &SPOT } else { &CONTRACTS },
            places: None,
            width: 0,
            last: None,
            twins: Twins::default(),
        }
    }

    fn header(&mut self, cells: &[&[u8]]) -> Result<(), ArchiveError> {
        let mut places = [None; CONTRACTS.len()];
        for (at, cell) in cells.iter().enumerate() {
            let got = String::from_utf8_lossy(cell).trim().to_owned();
            let word = got.to_ascii_lowercase().replace(['_', ' '], "");
            let Some(of) = self.columns.iter().position(|c| c.1 == word) else { continue };
            if places[of].replace(at).is_some() {
                return Err(self.lines.header(at, got, "a name that no other column has"));
            }
        }
        let gone = self.columns.iter().zip(&places).find(|(column, place)| column.2 && place.is_none());
        if let Some((column, _)) = gone {
            let (file, line) = (self.lines.file().to_owned(), self.lines.number());
            return Err(ArchiveError::NoColumn { file, line, name: column.0 });
        }
        (self.places, self.width) = (Some(places), cells.len());
        Ok(())
    }

    /// The moment, which must lie in the file's day: seconds with a fraction, of spot milliseconds.
    fn time(&self, cell: &Cell<'_>) -> Result<Ts, ArchiveError> {
        let ts = if self.is_spot {
            millis(cell.whole()?)
        } else {
            let ns = cell.number()?.rescale(9);
            ns.ok().map(|ns| Ts(ns.raw))
        };
        ts.filter(|ts| self.span.has(*ts))
            .ok_or_else(|| cell.wrong("no time within the day that the file's name tells"))
    }
}

impl ReadRows for Rows {
    fn read(&mut self, line: &[u8]) -> Result<Option<Row>, ArchiveError> {
        let Some(line) = self.lines.next(line)? else { return Ok(None) };
        let mut cells: [&[u8]; COLUMNS_MAX] = [b""; COLUMNS_MAX];
        let n = split(line, &mut cells);
        let Some(places) = self.places else {
            if n > COLUMNS_MAX {
                return Err(self.lines.columns(n, COLUMNS_MAX));
            }
            return self.header(&cells[..n]).map(|()| None);
        };
        if n != self.width {
            return Err(self.lines.columns(n, self.width));
        }
        let cell = |of: usize| {
            let at = places[of].unwrap_or(0);
            self.lines.cell(at, self.columns[of].0, cells[at])
        };
        if !self.is_spot && cell(SYMBOL).bytes != self.symbol.as_bytes() {
            return Err(cell(SYMBOL).wrong("it is of another symbol than the file"));
        }
        let time = self.time(&cell(TIME))?;
        let side = match cell(SIDE).bytes {
            b"Buy" | b"buy" => Side::Buy,
            b"Sell" | b"sell" => Side::Sell,
            _ => return Err(cell(SIDE).wrong("Buy or Sell is expected")),
        };
        let (price, size) = (cell(PRICE).number()?, cell(SIZE).number()?);
        let rpi = places[RPI].is_some_and(|at| !cells[at].is_empty());
        let rpi = match cell(RPI).bytes {
            b"1" if rpi => true,
            b"0" if rpi => false,
            _ => rpi && cell(RPI).truth()?,
        };
        let (key, ns) = (self.lines.number(), u64::try_from(time.0).unwrap_or(0));
        if let Some(before) = self.last.filter(|last| last.0 > ns) {
            return Err(self.lines.order("time (ns)", ns, before));
        }
        let id = if self.is_spot {
            cell(ID).whole()?;
            let (price, size) = (price.canonical(), size.canonical());
            let text = format!("{} {} {price} {size} {}", self.symbol, time.millis(), side.as_str());
            let n = self.twins.before(time, bytes_hash(text.as_bytes()));
            named(&text, n)
        } else {
            let id = TradeId::parse(cell(ID).bytes).filter(|id| id.is_uuid());
            id.ok_or_else(|| cell(ID).wrong("a UUID is expected"))?
        };
        self.last = Some((ns, key));
        let parts = TradeParts { id, price, size, aggressor: Some(side), block: false, rpi, time };
        Ok(Some(Row { line: key, key, event: parts.event(0) }))
    }

    fn unit(&self) -> &'static str {
        match self.last {
            None => "",
            Some(_) if self.is_spot => "ms",
            Some(_) => "s",
        }
    }

    fn has_header(&self) -> bool {
        self.places.is_some()
    }
}
