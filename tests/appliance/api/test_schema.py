"""Every route against what /openapi.json promises, with requests that are made up from it."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from appliance.api.http import create_api
from appliance.app import Box
from appliance.bundles import Bundle
from appliance.settings import load_settings
from tests.appliance import watguests as guests

EXAMPLES = 25
CHECKS = (
    not_a_server_error, status_code_conformance, content_type_conformance,
    response_headers_conformance, response_schema_conformance,
)  # fmt: skip


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    """A whole box in this process, with one app."""
    with Box(load_settings(state=tmp_path_factory.mktemp("state"))) as box:
        box.deployer.deploy(Bundle(guests.STEADY, b""), "steady", is_name_binding=True)
        yield create_api(box, lambda: box.started_at + 1)


def check(operation: Any) -> int:
    """Ask one route many things. Returns: how many."""
    asked = []

    @settings(
        max_examples=EXAMPLES, derandomize=True, deadline=None, database=None,
        phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy())
    def ask(case: schemathesis.Case) -> None:
        asked.append(case)
        case.call_and_validate(checks=CHECKS)

    ask()
    return len(asked)


def test_answers_are_what_the_page_promises(api: FastAPI) -> None:
    """Whatever is asked: no 500, and a status, a type and a shape that are on the page."""
    page = schemathesis.openapi.from_asgi("/openapi.json", api)
    # A stream has no end to wait for.
    page = page.exclude(path_regex=r"/stream(\.mjpg)?$")
    asked = {one.ok().label: check(one.ok()) for one in page.get_all_operations()}

    assert {"POST /v1/apps/{name}/frames", "GET /v1/predictions", "GET /readyz"} <= set(asked)
    assert [] == [label for label, times in asked.items() if times == 0]
