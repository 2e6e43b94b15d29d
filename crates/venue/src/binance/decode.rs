//! The typed decoder: any documented shape, in any key order, by serde. It is the meaning of the protocol; the fast
//! scanner ([`super::scan`]) must agree with it on every frame that it does not decline.

use wholetape_model::{
    Bar, Body, BookAction, Decimal, Event, Funding, InstrumentIx, Kind, Liquidation, Period, Scales, Side, Status,
    Ticker, TradeCondition, TradingStatus, Ts,
};

use super::emit::{self, TradeParts, venue_time};
use super::frame::{
    AggTradeFrame, BookTickerFrame, ContractInfoFrame, DepthFrame, DepthSnapshot, ErrorBody, ForceOrderFrame, Head,
    KlineFrame, MarkPriceFrame, TickerFrame, TradeFrame,
};
use super::sequence;
use super::{Binance, limits::Variant};
use crate::error::ProtocolError;
use crate::json::text::{self, Piece, Text, decimal, offset};
use crate::levels::{self, Ids, QuoteParts, store_levels};
use crate::session::{Action, Note, Out};

/// What the part behind the symbol in a stream name says about a `depthUpdate`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum DepthStream {
    Diff,
    /// `depth5`, `depth10`, `depth20`: each frame is the whole top.
    Partial,
    /// `rpiDepth`: another book (with retail price improvement orders).
    Other,
}

pub(super) fn depth_stream(stream: Option<&str>) -> DepthStream {
    // Without a name (a `/ws/` connection) the documents' main stream is meant.
    let Some(name) = stream.and_then(|s| s.split_once('@')).map(|(_, n)| n) else { return DepthStream::Diff };
    let name = name.split('@').next().unwrap_or(name);
    match name.strip_prefix("depth") {
        Some("") => DepthStream::Diff,
        Some("5" | "10" | "20" | "Snapshot") => DepthStream::Partial,
        _ => DepthStream::Other,
    }
}

impl Binance {
    /// Decodes one whole frame.
    pub(super) fn decode(&mut self, bytes: &[u8], out: &mut Out) -> Result<(), ProtocolError> {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(e) => {
                let at = e.valid_up_to();
                return Err(ProtocolError::Malformed { channel: "unknown", at, why: "not utf-8" });
            }
        };
        let frame = Piece { text, at: 0 };
        if text.trim_ascii_start().starts_with('[') {
            return self.array(None, frame, frame, out);
        }
        let head: Head<'_> = frame.parse("unknown")?;
        if let (Some(stream), Some(data)) = (&head.stream, &head.data) {
            let raw = data.as_raw_cow();
            let piece = Piece { text: &raw, at: offset(text, &raw) };
            let stream = Some(stream.as_str());
            if piece.text.starts_with('[') {
                return self.array(stream, piece, frame, out);
            }
            let inner: Head<'_> = piece.parse("unknown")?;
            let channel = self.payload(stream, &inner, piece, frame, out)?;
            self.count_typed(channel);
            return Ok(());
        }
        if head.e.is_none() && head.u.is_none() && head.last_update_id.is_none() && self.control(&head, out)? {
            return Ok(());
        }
        let channel = self.payload(None, &head, frame, frame, out)?;
        self.count_typed(channel);
        Ok(())
    }

    fn count_typed(&mut self, channel: &'static str) {
        self.reading.stats.count(channel);
        if self.reading.fast && matches!(channel, "trade" | "aggTrade" | "bookTicker" | "depth") {
            self.reading.stats.fallbacks += 1;
        }
    }

    /// An all-market array: each element is a payload; the frame counts once, under the first one's channel.
    fn array(
        &mut self,
        stream: Option<&str>,
        piece: Piece<'_>,
        frame: Piece<'_>,
        out: &mut Out,
    ) -> Result<(), ProtocolError> {
        let malformed = |at, why| ProtocolError::Malformed { channel: "array", at: piece.at + at, why };
        let mut counted = None;
        for element in sonic_rs::to_array_iter(piece.text) {
            let element = element.map_err(|e| malformed(e.offset().min(piece.text.len()), "not json"))?;
            let raw = element.as_raw_cow();
            let one = Piece { text: &raw, at: piece.at + offset(piece.text, &raw) };
            let head: Head<'_> = one.parse("array")?;
            let channel = self.payload(stream, &head, one, one, out)?;
            counted.get_or_insert(channel);
        }
        match counted {
            Some(channel) => self.reading.stats.count(channel),
            None => self.reading.unknown(stream.unwrap_or(""), frame.text, out),
        }
        Ok(())
    }

    /// One payload; returns its channel's name. `whole` is what is kept of it when it is not understood.
    fn payload(
        &mut self,
        stream: Option<&str>,
        head: &Head<'_>,
        piece: Piece<'_>,
        whole: Piece<'_>,
        out: &mut Out,
    ) -> Result<&'static str, ProtocolError> {
        Ok(match head.e.as_ref().map(Text::as_str) {
            Some("trade") => self.trade(piece, whole, out)?,
            Some("aggTrade") => self.agg_trade(piece, out)?,
            Some("depthUpdate") => match depth_stream(stream) {
                DepthStream::Diff => self.depth(piece, BookAction::Delta, out)?,
                DepthStream::Partial => self.depth(piece, BookAction::Snapshot, out)?,
                DepthStream::Other => self.not_ours(stream, head, whole, out),
            },
            Some("bookTicker") => self.book_ticker(piece, out)?,
            Some("24hrTicker") => self.ticker(piece, out)?,
            Some("kline") => self.kline(piece, whole, out)?,
            Some("markPriceUpdate") => self.mark_price(piece, out)?,
            Some("forceOrder") => self.force_order(piece, whole, out)?,
            Some("contractInfo") => self.contract_info(piece, whole, out)?,
            Some("serverShutdown") => {
                out.actions.push(Action::Note(Note::ClosingSoon));
                "serverShutdown"
            }
            Some(_) => self.not_ours(stream, head, whole, out),
            None if head.last_update_id.is_some() && depth_stream(stream) == DepthStream::Partial => {
                self.partial_depth(stream.unwrap_or(""), piece, out)?
            }
            None if head.u.is_some() && head.bid_size.is_some() => self.book_ticker(piece, out)?,
            None if stream == Some("!serverShutdown") => {
                out.actions.push(Action::Note(Note::ClosingSoon));
                "serverShutdown"
            }
            None => self.not_ours(stream, head, whole, out),
        })
    }

    fn not_ours(&mut self, stream: Option<&str>, head: &Head<'_>, whole: Piece<'_>, out: &mut Out) -> &'static str {
        // `depthUpdate` is known: what is not is the stream that it came by.
        let event = head.e.as_ref().map(Text::as_str).filter(|e| *e != "depthUpdate");
        let name = event.or(stream).unwrap_or("");
        self.reading.unknown(name, whole.text, out);
        "unknown"
    }

    /// Acks and errors; `false` when it is neither.
    fn control(&mut self, head: &Head<'_>, out: &mut Out) -> Result<bool, ProtocolError> {
        let id = head.id.as_ref().and_then(|v| v.as_raw_cow().trim_matches('"').parse::<u64>().ok());
        let error = if let Some(error) = &head.error {
            let body = error.as_raw_cow();
            let body: ErrorBody<'_> = Piece { text: &body, at: 0 }.parse("error")?;
            Some((body.code, body.msg.map_or_else(String::new, |m| m.0.into_owned())))
        } else if let Some(code) = &head.code {
            let code = code.as_raw_cow().parse().unwrap_or(0);
            Some((code, head.msg.as_ref().map_or_else(String::new, |m| m.as_str().to_owned())))
        } else {
            None
        };
        if let Some((code, text)) = error {
            self.reading.stats.count("error");
            return match id.and_then(|id| self.subscriptions.answered(id)) {
                Some(streams) => {
                    out.actions.push(Action::Note(Note::Refused { streams, code, text }));
                    Ok(true)
                }
                // 0 to 4 find fault with what we wrote (`web-socket-streams.md` "Error Messages"): it would fail again.
                None if (0..=4).contains(&code) => Err(ProtocolError::Refused { code, text }),
                None => Err(ProtocolError::Venue { code, text }),
            };
        }
        if head.id.is_none() || head.result.is_none() {
            return Ok(false);
        }
        self.reading.stats.count("ack");
        if let Some(streams) = id.and_then(|id| self.subscriptions.answered(id)) {
            out.actions.push(Action::Note(Note::Subscribed { streams }));
        }
        Ok(true)
    }

    /// The instrument of a frame, or `None` (and counted) where it is to be dropped: `st` of the other product (since
    /// 2026-06-30 the all-market streams mix USD-M, 1, and COIN-M, 2), or a symbol that nobody asked for.
    #[inline]
    pub(super) fn admit(&mut self, symbol: &str, st: Option<i64>) -> Option<InstrumentIx> {
        let product = match self.variant {
            Variant::UsdM => 1,
            Variant::CoinM => 2,
            Variant::Spot | Variant::Us => 0,
        };
        let other = product != 0 && st.is_some_and(|st| st != product);
        let ix = if other {
            None
        } else if self.discover {
            self.symbols.find_or_add(symbol)
        } else {
            self.symbols.find(symbol)
        };
        if ix.is_none() {
            self.reading.stats.filtered += 1;
        }
        ix
    }

    fn trade(&mut self, piece: Piece<'_>, whole: Piece<'_>, out: &mut Out) -> Result<&'static str, ProtocolError> {
        const CH: &str = "trade";
        let f: TradeFrame<'_> = piece.parse(CH)?;
        let (price, size) = (decimal(CH, "p", &f.p)?, decimal(CH, "q", &f.q)?);
        let Some(ix) = self.admit(f.s.as_str(), f.st) else { return Ok(CH) };
        let (condition, known) = condition(f.condition.as_ref().map(Text::as_str));
        emit::trade(
            &mut out.events,
            ix,
            &TradeParts {
                kind: Kind::TradeRaw,
                id: f.t,
                first_id: f.t,
                last_id: f.t,
                price,
                size,
                time: f.time,
                buyer_is_maker: f.m,
                condition,
            },
        );
        if !known {
            self.reading.unknown("trade X", whole.text, out);
        }
        Ok(CH)
    }

    fn agg_trade(&mut self, piece: Piece<'_>, out: &mut Out) -> Result<&'static str, ProtocolError> {
        const CH: &str = "aggTrade";
        let f: AggTradeFrame<'_> = piece.parse(CH)?;
        let (price, size) = (decimal(CH, "p", &f.p)?, decimal(CH, "q", &f.q)?);
        let Some(symbol) = &f.s else {
            return Err(ProtocolError::Malformed { channel: CH, at: piece.at, why: "no symbol" });
        };
        let Some(ix) = self.admit(symbol.as_str(), f.st) else { return Ok(CH) };
        emit::trade(&mut out.events, ix, &agg_parts(&f, price, size));
        Ok(CH)
    }

    fn depth(&mut self, piece: Piece<'_>, action: BookAction, out: &mut Out) -> Result<&'static str, ProtocolError> {
        const CH: &str = "depth";
        let f: DepthFrame<'_> = piece.parse(CH)?;
        let ids = if action == BookAction::Delta {
            sequence::ids(self.variant, f.first, f.u, f.pu).map_err(|why| ProtocolError::Malformed {
                channel: CH,
                at: piece.at,
                why,
            })?
        } else {
            Ids { first: f.u, last: f.u, prev: 0 }
        };
        text::levels(CH, &f.b, &f.a, &mut self.scratch)?;
        let Some(ix) = self.admit(f.s.as_str(), f.st) else { return Ok(CH) };
        let (scales, bids, asks) = store_levels(&mut out.arena, &self.scratch, f.b.len())
            .map_err(|(field, source)| ProtocolError::Number { channel: CH, field, source })?;
        let time = venue_time(f.time.unwrap_or(f.event_time));
        levels::book(&mut out.events, ix, action, ids, time, scales, bids, asks);
        Ok(if action == BookAction::Delta { CH } else { "partialDepth" })
    }

    fn partial_depth(&mut self, stream: &str, piece: Piece<'_>, out: &mut Out) -> Result<&'static str, ProtocolError> {
        const CH: &str = "partialDepth";
        let symbol = stream.split('@').next().unwrap_or("").to_uppercase();
        if let Some(ix) = self.admit(&symbol, None) {
            self.snapshot(CH, ix, piece, out)?;
        }
        Ok(CH)
    }

    /// A full book: REST depth, or spot partial depth.
    pub(super) fn snapshot(
        &mut self,
        channel: &'static str,
        ix: InstrumentIx,
        piece: Piece<'_>,
        out: &mut Out,
    ) -> Result<(), ProtocolError> {
        let f: DepthSnapshot<'_> = piece.parse(channel)?;
        text::levels(channel, &f.bids, &f.asks, &mut self.scratch)?;
        let (scales, bids, asks) = store_levels(&mut out.arena, &self.scratch, f.bids.len())
            .map_err(|(field, source)| ProtocolError::Number { channel, field, source })?;
        let id = u64::try_from(f.last_update_id).unwrap_or(0);
        let ids = Ids { first: id, last: id, prev: 0 };
        let time = f.time.map_or(Ts::ZERO, venue_time);
        levels::book(&mut out.events, ix, BookAction::Snapshot, ids, time, scales, bids, asks);
        Ok(())
    }

    fn book_ticker(&mut self, piece: Piece<'_>, out: &mut Out) -> Result<&'static str, ProtocolError> {
        const CH: &str = "bookTicker";
        let f: BookTickerFrame<'_> = piece.parse(CH)?;
        let parts = QuoteParts {
            bid: decimal(CH, "b", &f.b)?,
            bid_size: decimal(CH, "B", &f.bid_size)?,
            ask: decimal(CH, "a", &f.a)?,
            ask_size: decimal(CH, "A", &f.ask_size)?,
            update_id: f.u,
            ts_event: f.time.map_or(Ts::ZERO, venue_time),
        };
        let Some(ix) = self.admit(f.s.as_str(), f.st) else { return Ok(CH) };
        levels::quote(&mut out.events, ix, &parts).map_err(|source| ProtocolError::Number {
            channel: CH,
            field: "scale",
            source,
        })?;
        Ok(CH)
    }

    fn ticker(&mut self, piece: Piece<'_>, out: &mut Out) -> Result<&'static str, ProtocolError> {
        const CH: &str = "ticker";
        let f: TickerFrame<'_> = piece.parse(CH)?;
        let body = Ticker {
            last: decimal(CH, "c", &f.c)?,
            open: decimal(CH, "o", &f.o)?,
            high: decimal(CH, "h", &f.h)?,
            low: decimal(CH, "l", &f.l)?,
            volume: decimal(CH, "v", &f.v)?,
            quote_volume: decimal(CH, "q", &f.q)?,
            change: decimal(CH, "p", &f.p)?,
            trades: u64::try_from(f.n).unwrap_or(0),
            open_ts: venue_time(f.open_time),
            close_ts: venue_time(f.close_time),
        };
        if let Some(ix) = self.admit(f.s.as_str(), f.st) {
            push(out, ix, Kind::Ticker, venue_time(f.event_time), Body::Ticker(body));
        }
        Ok(CH)
    }

    fn kline(&mut self, piece: Piece<'_>, whole: Piece<'_>, out: &mut Out) -> Result<&'static str, ProtocolError> {
        const CH: &str = "kline";
        let f: KlineFrame<'_> = piece.parse(CH)?;
        let Some(period) = Period::parse(f.k.i.as_str()) else {
            self.reading.unknown("kline i", whole.text, out);
            return Ok(CH);
        };
        let k = &f.k;
        let bar = Bar {
            open_ts: venue_time(k.t),
            close_ts: venue_time(k.close_time),
            open: decimal(CH, "o", &k.o)?,
            high: decimal(CH, "h", &k.h)?,
            low: decimal(CH, "l", &k.l)?,
            close: decimal(CH, "c", &k.c)?,
            volume: decimal(CH, "v", &k.v)?,
            quote_volume: decimal(CH, "q", &k.q)?,
            taker_volume: decimal(CH, "V", &k.taker_volume)?,
            taker_quote_volume: decimal(CH, "Q", &k.taker_quote_volume)?,
            trades: u64::try_from(k.n).unwrap_or(0),
            first_id: u64::try_from(k.f).unwrap_or(0),
            last_id: u64::try_from(k.last_id).unwrap_or(0),
            closed: k.x,
            period,
        };
        if let Some(ix) = self.admit(f.s.as_str(), f.st) {
            push(out, ix, Kind::Bar(period), venue_time(f.event_time), Body::Bar(bar));
        }
        Ok(kline_channel(k.i.as_str()))
    }

    fn mark_price(&mut self, piece: Piece<'_>, out: &mut Out) -> Result<&'static str, ProtocolError> {
        const CH: &str = "markPrice";
        let f: MarkPriceFrame<'_> = piece.parse(CH)?;
        let given = |t: &Option<Text<'_>>| t.as_ref().is_some_and(|t| !t.as_str().is_empty());
        let mark = decimal(CH, "p", &f.p)?;
        let index = match &f.i {
            Some(i) if given(&f.i) => Some(decimal(CH, "i", i)?),
            _ => None,
        };
        let funding = match (&f.r, f.next_time) {
            (Some(r), Some(next)) if given(&f.r) && next > 0 => {
                Some(Funding { rate: decimal(CH, "r", r)?, next_ts: venue_time(next) })
            }
            _ => None,
        };
        let Some(ix) = self.admit(f.s.as_str(), f.st) else { return Ok(CH) };
        let time = venue_time(f.event_time);
        push(out, ix, Kind::Mark, time, Body::MarkPrice(mark));
        if let Some(index) = index {
            push(out, ix, Kind::Index, time, Body::IndexPrice(index));
        }
        if let Some(funding) = funding {
            push(out, ix, Kind::Funding, time, Body::Funding(funding));
        }
        Ok(CH)
    }

    fn force_order(
        &mut self,
        piece: Piece<'_>,
        whole: Piece<'_>,
        out: &mut Out,
    ) -> Result<&'static str, ProtocolError> {
        const CH: &str = "forceOrder";
        let f: ForceOrderFrame<'_> = piece.parse(CH)?;
        let o = &f.o;
        let side = match o.side.as_str() {
            "BUY" => Some(Side::Buy),
            "SELL" => Some(Side::Sell),
            _ => None,
        };
        let body = Liquidation {
            side,
            price: decimal(CH, "p", &o.p)?,
            average_price: match &o.ap {
                Some(ap) if !ap.as_str().is_empty() => decimal(CH, "ap", ap)?,
                _ => Decimal::ZERO,
            },
            size: decimal(CH, "z", &o.z)?,
            order_size: decimal(CH, "q", &o.q)?,
        };
        let Some(ix) = self.admit(o.s.as_str(), f.st.or(o.st)) else { return Ok(CH) };
        push(out, ix, Kind::Liquidation, venue_time(o.time), Body::Liquidation(body));
        if side.is_none() {
            self.reading.unknown("forceOrder S", whole.text, out);
        }
        Ok(CH)
    }

    fn contract_info(
        &mut self,
        piece: Piece<'_>,
        whole: Piece<'_>,
        out: &mut Out,
    ) -> Result<&'static str, ProtocolError> {
        const CH: &str = "contractInfo";
        let f: ContractInfoFrame<'_> = piece.parse(CH)?;
        let Some(ix) = self.admit(f.s.as_str(), f.st) else { return Ok(CH) };
        let status = trading_status(f.cs.as_str());
        let text = out.arena.text(f.cs.as_str());
        push(out, ix, Kind::Status, venue_time(f.event_time), Body::Status(Status { status, text }));
        if status == TradingStatus::Unknown {
            self.reading.unknown("contractInfo cs", whole.text, out);
        }
        // The frame lacks ticks and steps; a full definition is asked for soon.
        self.polls.instruments_soon(self.now);
        Ok(CH)
    }
}

pub(super) fn agg_parts(f: &AggTradeFrame<'_>, price: Decimal, size: Decimal) -> TradeParts {
    TradeParts {
        kind: Kind::Trade,
        id: f.a,
        first_id: f.f,
        last_id: f.l,
        price,
        size,
        time: f.time,
        buyer_is_maker: f.m,
        condition: TradeCondition::Regular,
    }
}

pub(super) fn push(out: &mut Out, instrument: InstrumentIx, kind: Kind, ts_event: Ts, body: wholetape_model::Pending) {
    out.events.push(Event { instrument, kind, ts_event, scales: Scales::default(), body });
}

/// `X` of a futures print (NautilusTrader `crates/adapters/binance`, read 2026-11-20), and whether we know the word. `NA`
/// says that it has none: known, but nothing that could be called regular.
fn condition(x: Option<&str>) -> (TradeCondition, bool) {
    match x {
        None | Some("MARKET") => (TradeCondition::Regular, true),
        Some("INSURANCE_FUND") => (TradeCondition::InsuranceFund, true),
        Some("ADL") => (TradeCondition::Adl, true),
        Some("NA") => (TradeCondition::Unknown, true),
        Some(_) => (TradeCondition::Unknown, false),
    }
}

/// Spot `enums.md` "Symbol status" and futures `contractStatus`, read 2026-11-20.
pub(super) fn trading_status(word: &str) -> TradingStatus {
    match word {
        "TRADING" => TradingStatus::Trading,
        "HALT" | "BREAK" | "TRADING_HALT" | "AUCTION_MATCH" => TradingStatus::Halted,
        "PRE_TRADING" | "PENDING_TRADING" => TradingStatus::PreTrading,
        "PRE_DELIVERING" | "DELIVERING" | "PRE_SETTLE" | "SETTLING" => TradingStatus::Settling,
        "POST_TRADING" | "END_OF_DAY" | "DELIVERED" | "CLOSE" => TradingStatus::Closed,
        "CANCEL_ONLY" => TradingStatus::CancelOnly,
        _ => TradingStatus::Unknown,
    }
}

/// Intervals of `web-socket-streams.md` "Klines"; counters need names that live for ever.
pub(super) const KLINES: [(&str, &str); 16] = [
    ("1s", "kline_1s"),
    ("1m", "kline_1m"),
    ("3m", "kline_3m"),
    ("5m", "kline_5m"),
    ("15m", "kline_15m"),
    ("30m", "kline_30m"),
    ("1h", "kline_1h"),
    ("2h", "kline_2h"),
    ("4h", "kline_4h"),
    ("6h", "kline_6h"),
    ("8h", "kline_8h"),
    ("12h", "kline_12h"),
    ("1d", "kline_1d"),
    ("3d", "kline_3d"),
    ("1w", "kline_1w"),
    ("1M", "kline_1M"),
];

fn kline_channel(interval: &str) -> &'static str {
    KLINES.iter().find(|(i, _)| *i == interval).map_or("kline", |(_, name)| *name)
}
