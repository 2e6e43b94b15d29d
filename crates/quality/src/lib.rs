//! Checks on market data: ranges, order, spread, silence; pure
