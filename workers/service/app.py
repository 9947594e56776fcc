"""The application: routes, the guard before them, and errors as one sentence each."""

from __future__ import annotations

import importlib.metadata
import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response

from slt.errors import SltError
from workers.service import pages, routes
from workers.service.description import describe, errors
from workers.service.desk import Busy, Conflict, Desk
from workers.service.guard import Guard, refusal
from workers.service.metrics import Metrics, Timing

log = logging.getLogger("slt.service")


def create_app(desk: Desk, token: str | None) -> FastAPI:
    """The service as an ASGI application.

    Args:
        desk: the jobs.
        token: the bearer token, or None for a service without one.
    """
    app = FastAPI(
        title="slt",
        summary="Developmental stages of training runs: jobs on a Ray cluster.",
        version=importlib.metadata.version("slt-stages"),
        openapi_url="/api/openapi.json",
        docs_url=None,  # FastAPI's own pages load scripts from elsewhere
        redoc_url=None,
        max_body_size=desk.settings.max_body_bytes,
    )
    app.openapi = describe(app)  # type: ignore[method-assign]
    app.state.desk, app.state.token = desk, token
    metrics = Metrics(desk.index)

    @app.get("/healthz", tags=["service"])
    async def healthz() -> dict[str, str]:
        """Whether the service is there."""
        return {"status": "ok", "version": app.version}

    @app.get("/metrics", tags=["service"], response_class=PlainTextResponse, responses=errors())
    def read_metrics() -> Response:
        """For Prometheus."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    app.include_router(routes.router)
    app.include_router(pages.router)
    app.add_middleware(Guard, settings=desk.settings, token=token)
    app.add_middleware(Timing, metrics=metrics)
    app.add_exception_handler(SltError, _refused)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _defect)
    return app


async def _refused(request: Request, error: Exception) -> Response:
    status = 409 if isinstance(error, Conflict) else 429 if isinstance(error, Busy) else 422
    return refusal(status, str(error))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    answer = refusal(error.status_code, str(error.detail))
    answer.headers.update(error.headers or {})
    return answer


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    detail = error.errors()[0]
    where = ".".join(str(part) for part in detail["loc"][1:])
    return refusal(422, f"{where}: {detail['msg'][0].lower()}{detail['msg'][1:]}")


async def _defect(request: Request, error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return refusal(500, "the service has a defect; its log says where")
