"""`clients/conformance`: what every client must do, step by step on a virtual clock."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from wholetape import (
    Malformed, Message, Missed, Notice, Published, Rows, ServerError, State, TopicState, Unpublished,
)
from wholetape._core import Core
from wholetape._words import Action, Close, Connect, Send

VECTORS = Path(__file__).parents[2] / "conformance"
PRELUDES = json.loads((VECTORS / "preludes.json").read_text())
CASES = [
    pytest.param(case, id=f"{file.stem}: {case['name']}")
    for file in sorted(VECTORS.glob("*.json"))
    for case in json.loads(file.read_text()).get("cases", [])
]


def shown(action: Action) -> dict[str, Any]:
    match action:
        case Connect():
            return {"connect": True}
        case Send(message):
            return {"send": message}
        case Close(code):
            return {"close": code}
    match action.event:
        case State("waiting", tries, delay, why):
            return {"state": "waiting", "tries": tries, "delay_ms": delay, "code": why}
        case State() as state:
            return {"state": state.name} | ({"code": state.code} if state.is_over else {})
        case TopicState(topic, name):
            return {"topic": topic, "state": name}
        case Message(message=message):
            return {"message": message}
        case Rows(topic, rows=rows):
            return {"topic": topic, "rows": rows}
        case Missed(topic, _, first, last, why):
            return {"topic": topic, "missed": [first, last, why]}
        case Published(mid, answer):
            return {"published": mid, "answer": answer}
        case Unpublished(mid, error):
            return {"unpublished": mid, "error": error}
        case ServerError(error):
            return {"error": error}
        case Notice(notice):
            return {"notice": notice}
        case Malformed():
            return {"malformed": True}


def take_step(core: Core, delivered: dict[str, dict[str, Any]], now: int, step: dict[str, Any]) -> list[dict[str, Any]]:
    timer = core.next_timer()
    if step.get("timer"):
        assert timer == now, "the timer"
    else:
        assert timer is None or timer >= now, f"the timer of {timer} was passed over at {now}"
    what = [key for key in step if key not in ("at", "out", "positions", "roll", "next")]
    value: Any = step[what[0]] if what else None
    match what:
        case ["start"]:
            core.start(now)
        case ["stop"]:
            core.stop(now)
        case ["sub"]:
            keys = dict(value)
            core.subscribe(now, keys.pop("topic"), keys.pop("from", "live"), **keys)
        case ["unsub"]:
            core.unsubscribe(now, value)
        case ["resync"]:
            core.resync(now, value["topic"], value.get("whole", False))
        case ["flow"]:
            core.flow(now, value["topic"], value["credit"])
        case ["processed"]:
            core.processed(now, value, delivered[value])
        case ["pub"]:
            core.publish(now, value["mid"], value["topic"], value["event"], value["data"], value.get("if_seq"))
        case ["open"]:
            core.on_open()
        case ["alive"]:
            core.on_alive(now)
        case ["recv"]:
            core.on_text(now, json.dumps(value))
        case ["text"]:
            core.on_text(now, value)
        case ["closed"]:
            core.on_closed(now, value, step.get("roll", 0.5))
        case ["timer"]:
            core.on_timer(now)
        case []:
            pass
        case other:
            raise AssertionError(f"no such step: {other}")
    actions = core.take()
    for action in actions:
        if not isinstance(action, (Connect, Send, Close)) and isinstance(action.event, (Message, Rows, Missed)):
            delivered[action.event.topic] = action.event.cursor
    if "positions" in step:
        assert core.positions() == step["positions"]
    if "next" in step:
        assert core.next_timer() == step["next"]
    return [shown(action) for action in actions]


@pytest.mark.parametrize("case", CASES)
def test_vector(case: dict[str, Any]) -> None:
    core = Core(case.get("stored"), agent="test", renewable=case.get("renewable", False))
    delivered: dict[str, dict[str, Any]] = {}
    now = 0
    for step in PRELUDES.get(case.get("begin"), []) + case["steps"]:
        now = step.get("at", now)
        assert take_step(core, delivered, now, step) == step.get("out", []), step


def test_there_are_vectors() -> None:
    assert len(CASES) >= 60
