"""The API's own description: OpenAPI with the job file's schema in it, and a page made of it, without scripts."""

from __future__ import annotations

import html
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from workers.job import JobConfig
from workers.service import submission

REFERENCE = "#/components/schemas/{model}"
SUBMISSION = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["job"],
                "additionalProperties": False,
                "properties": {
                    "job": {"$ref": "#/components/schemas/JobConfig"},
                    "submission_id": {"type": ["string", "null"], "pattern": submission.ID.pattern},
                    "follow": {"type": "boolean"},
                },
            }
        },
        "application/yaml": {"schema": {"type": "string", "description": "A job file."}},
    },
}


class Refusal(BaseModel):
    """What every error says, in one sentence."""

    error: str


class Progress(BaseModel):
    """A job: `state` is PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED; done and total count checkpoints."""

    id: str
    name: str
    state: str
    follow: bool
    phase: str
    done: int
    total: int
    label: str
    units: dict[str, int]
    checkpoints: int
    created: str
    started: str | None
    updated: str | None
    message: str


def errors(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Errors that a route may answer with, besides those that every route may."""
    content = {"application/json": {"schema": {"$ref": REFERENCE.format(model="Refusal")}}}
    return {code: {"description": HTTPStatus(code).phrase, "content": content} for code in (401, 413, 421, *codes)}


def describe(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """The function that makes the application's OpenAPI document, once."""

    def openapi() -> dict[str, Any]:
        if not app.openapi_schema:
            document = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
            job = JobConfig.model_json_schema(ref_template=REFERENCE)
            schemas = document["components"]["schemas"]
            schemas |= job.pop("$defs", {})
            job["required"] = [name for name in job["required"] if name not in ("name", "out")]
            schemas |= {"JobConfig": job, "Refusal": Refusal.model_json_schema()}
            document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            document["security"] = [{"token": []}]
            app.openapi_schema = document
        return app.openapi_schema

    return openapi


def page(document: dict[str, Any]) -> str:
    """The routes, for people."""
    routes = [
        f"<section><h2><code>{method.upper()} {html.escape(path)}</code></h2>"
        f"<p>{html.escape(route.get('description', ''))}</p>{_parameters(route)}</section>"
        for path, methods in document["paths"].items()
        for method, route in methods.items()
    ]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>slt: HTTP API</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="stylesheet" href="/static/style.css"><main><h1>HTTP API</h1>'
        '<p>Each route takes <code>Authorization: Bearer TOKEN</code>. Errors are <code>{"error": "..."}</code>. '
        'For programs: <a href="/api/openapi.json">openapi.json</a>.</p>' + "".join(routes) + "</main></html>"
    )


def _parameters(route: dict[str, Any]) -> str:
    rows = [
        f"<li><code>{html.escape(parameter['name'])}</code> ({html.escape(parameter['in'])}) "
        f"{html.escape(parameter.get('description') or '')}</li>"
        for parameter in route.get("parameters", ())
    ]
    bodies = ", ".join(f"<code>{html.escape(kind)}</code>" for kind in route.get("requestBody", {}).get("content", ()))
    return ("<ul>" + "".join(rows) + "</ul>" if rows else "") + (f"<p>Body: {bodies}</p>" if bodies else "")
