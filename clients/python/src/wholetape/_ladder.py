"""When to come back (PROTOCOL §8, §9), and how much may be said (§10)."""

from __future__ import annotations

from typing import Literal

BASE_MS = 500
CAP_MS = 30_000
RESET_MS = 30_000
BAN_MS = 15 * 60 * 1_000
OP = 10_000
LIGHT = 1_000

Fate = Literal["ladder", "at_once", "renew", "ban", "stop", "denied"]


def fate(code: int | None) -> Fate:
    """What the end of a connection means; `None`: it just went."""
    match code:
        case 1000 | 1002 | 1003 | 1007 | 1009 | 4009:
            return "stop"
        case 4006:
            return "at_once"
        case 4303:
            return "ban"
        case int() if 4100 <= code < 4200:
            return "renew"
        case int() if 4300 <= code < 4400:
            return "denied"
    return "ladder"


def delay_ms(tries: int, roll: float, base_ms: int = BASE_MS, cap_ms: int = CAP_MS) -> int:
    """Full jitter: uniform below a bound that doubles. `tries` counts from 1, `roll` is in [0, 1)."""
    return int(min(cap_ms, base_ms << min(tries - 1, 16)) * roll)


class Bucket:
    """The server's token bucket as we keep it: nine tenths of what `welcome` allows. Unit: a ten-thousandth of an op."""

    def __init__(self, now: int, ops_s: int, burst: int) -> None:
        self.burst = max(burst * 9_000, OP)
        self.held = self.burst
        self.gain = max(ops_s * 9, 1)
        self.at = now

    def take(self, now: int, cost: int) -> int | None:
        """Takes `cost`, or tells when there will be enough."""
        self.held = min(self.burst, self.held + max(0, now - self.at) * self.gain)
        self.at = max(self.at, now)
        if self.held >= cost:
            self.held -= cost
            return None
        return now + -(-(cost - self.held) // self.gain)
