"""The API against its own description: odd requests, and no server error, and no answer that is not described."""

from __future__ import annotations

from dataclasses import replace

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS as KNOWN_CHECKS
from schemathesis.checks import load_all_checks

from workers.service.app import create_app
from workers.service.jobs import SUCCEEDED

from .conftest import TOKEN, job

pytestmark = pytest.mark.slow

AUTHORISED = {"Authorization": f"Bearer {TOKEN}", "host": "127.0.0.1", "x-slt": "1"}
FEWEST_OPERATIONS = 15
load_all_checks()
CHECKS = KNOWN_CHECKS.get_by_names(
    ["not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance"]
)
checked = settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("there", [False, True], ids=["any job", "a job that is there"])
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["valid", "invalid"])
def test_no_request_meets_a_server_error_or_an_answer_that_is_not_described(desk, mode, there):
    made, _ = desk.submit(job()["job"], "known", False)
    (desk.folder("known") / "trajectory.csv").write_text("step,llc\n1,2\n")
    desk.keep(replace(made, state=SUCCEEDED))
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", create_app(desk, TOKEN), headers=AUTHORISED)
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) >= FEWEST_OPERATIONS
    for operation in operations:
        if there and "{job_id}" not in operation.path:
            continue

        @given(case=operation.as_strategy(generation_mode=mode))
        @checked
        def check(case):
            if there:
                case.path_parameters["job_id"] = "known"
            answer = case.call(headers=AUTHORISED)
            case.validate_response(answer, checks=CHECKS)

        if mode is GenerationMode.POSITIVE or _can_be_invalid(operation):
            check()


def _can_be_invalid(operation) -> bool:
    return bool(operation.path_parameters or operation.query or operation.body)
