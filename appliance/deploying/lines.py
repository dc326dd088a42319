"""A deploy as lines of JSON: a first one with all of it, then one for each change of it.

    {"id": 7, "app": "cat", "version": "...", "before": "...", "kind": "deploy", "by": "api",
     "steps": [["received", 1700000000.5]], "had_files": false, "reason": "",
     "probation": [10, 0, 0, null]}
    {"id": 7, "stage": "validated", "at": 1700000000.6, "reason": ""}
    {"id": 7, "probation": [10, 1, 0, null], "reason": ""}
    {"forget": "cat"}

What is damaged, or written by a later version of the box, is skipped line by line.
"""

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from appliance.deploying.probation import Probation, Verdict
from appliance.deploying.stages import MAX_REASON_LENGTH, Asker, Deploy, Kind, Stage, Step

_MAX_STEPS = len(Stage)


def first_line(deploy: Deploy) -> bytes:
    """Write all of a deploy."""
    return _line(
        {
            "id": deploy.id, "app": deploy.app, "version": deploy.version,
            "before": deploy.before, "kind": deploy.kind, "by": deploy.by,
            "steps": [[step.stage, step.at] for step in deploy.steps],
            "had_files": deploy.had_files, "reason": deploy.reason,
            "probation": _numbers(deploy.probation),
        }
    )  # fmt: skip


def stage_line(deploy: Deploy) -> bytes:
    """Write the last stage of a deploy."""
    step = deploy.steps[-1]
    return _line({"id": deploy.id, "stage": step.stage, "at": step.at, "reason": deploy.reason})


def probation_line(deploy: Deploy) -> bytes:
    """Write how far a deploy's probation is."""
    numbers = _numbers(deploy.probation)
    return _line({"id": deploy.id, "probation": numbers, "reason": deploy.reason})


def forget_line(app: str) -> bytes:
    """Write that an app was deleted."""
    return _line({"forget": app})


def _line(content: dict[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode() + b"\n"


def _numbers(probation: Probation) -> list[Any]:
    return [probation.frames, probation.answered, probation.failed, probation.verdict]


def read(lines: Iterable[bytes]) -> tuple[dict[int, Deploy], int]:
    """Put deploys together. Returns: by id; and how many lines made no sense."""
    deploys: dict[int, Deploy] = {}
    damaged = 0
    for line in filter(None, lines):
        try:
            content = json.loads(line)
            for deploy in _changed(deploys, content):
                deploys[deploy.id] = deploy
            forgotten = content.get("forget")
            if forgotten is not None:
                deploys = {i: d for i, d in deploys.items() if d.app != forgotten}
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            damaged += 1
    return deploys, damaged


def _changed(deploys: dict[int, Deploy], content: dict[str, Any]) -> Iterator[Deploy]:
    """Apply a line. Raises: ValueError, KeyError, TypeError for what we did not write."""
    if "app" in content:
        yield _deploy(content)
        return
    deploy = deploys.get(content.get("id", 0))
    if deploy is None:
        return  # of one that was left out, or whose first line is damaged
    reason = _text(content["reason"], MAX_REASON_LENGTH)
    if "stage" in content:
        yield deploy.reached(Stage(content["stage"]), _moment(content["at"]), reason)
    elif "probation" in content:
        yield replace(deploy, probation=_probation(content["probation"]), reason=reason)


def _deploy(content: dict[str, Any]) -> Deploy:
    steps = tuple(Step(Stage(stage), _moment(at)) for stage, at in content["steps"][:_MAX_STEPS])
    if not steps or not isinstance(content["id"], int):
        raise ValueError("a deploy has a number and a first stage")
    return Deploy(
        content["id"], _text(content["app"], 255), _text(content["version"], 255),
        _text(content["before"], 255), Kind(content["kind"]), Asker(content["by"]), steps,
        bool(content["had_files"]), _text(content["reason"], MAX_REASON_LENGTH),
        _probation(content["probation"]),
    )  # fmt: skip


def _moment(value: object) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError("wanted Unix seconds")
    return float(value)


def _text(value: object, length: int) -> str:
    if not isinstance(value, str):
        raise TypeError("wanted a text")
    # Half a surrogate pair could not be shown to anyone.
    return value[:length].encode("utf-8", "replace").decode()


def _probation(numbers: Any) -> Probation:
    frames, answered, failed, verdict = numbers
    return Probation(
        int(frames), int(answered), int(failed), None if verdict is None else Verdict(verdict)
    )
