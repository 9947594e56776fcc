"""The web page, the login, and the API's own description; everything from this machine."""

from __future__ import annotations

import html
from importlib.metadata import distribution
from pathlib import Path
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response

from workers.service import description, safe_yaml
from workers.service import token as tokens
from workers.service.guard import COOKIE, refusal

WEB = Path(__file__).parent.parent / "web"
PLOTLY = Path(str(distribution("plotly").locate_file("plotly/package_data/plotly.min.js")))
KINDS = {".html", ".css", ".js", ".svg", ".png", ".ico", ".json", ".webmanifest", ".woff2"}
LOGIN = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>slt: log in</title><link rel="stylesheet" href="/static/login.css">
<main><h1>slt</h1><p>{sentence}</p>
<form method="post" action="/login"><input name="username" autocomplete="username" value="slt" hidden>
<label>Token <input name="token" type="password" autocomplete="current-password" required autofocus></label>
<button>Log in</button></form>
<p>It was printed by <code>slt serve</code> and lies in the file <code>token</code> of the service's folder.</p></main>
</html>
"""

router = APIRouter(include_in_schema=False)


@router.get("/")
async def index(request: Request, token: str | None = None) -> Response:
    """The page; opened by the link that `slt serve` printed, it keeps the token in a cookie that no script can read."""
    if token is not None:
        return _logged_in(request, token)
    return _web_file("index.html")


@router.get("/static/{name:path}")
async def static(name: str) -> Response:
    """Files of the page."""
    if name == "plotly.min.js":
        return FileResponse(PLOTLY, headers={"cache-control": "private, max-age=86400"})
    return _web_file(name)


@router.get("/favicon.ico")
async def favicon() -> Response:
    """The page's icon."""
    return _web_file("icon.svg")


@router.get("/login")
async def login_form() -> Response:
    """A form for the token."""
    return _login_page("The token of this service, please.")


@router.post("/login")
async def login(request: Request) -> Response:
    """Take the token from a form or a JSON object."""
    body = await request.body()
    as_json = "json" in request.headers.get("content-type", "")
    if as_json:
        document = safe_yaml.parse_json(body)
        given = document.get("token") if isinstance(document, dict) else None
    else:
        given = parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0]
    return _logged_in(request, given if isinstance(given, str) else "", as_json=as_json)


@router.get("/api/docs")
async def docs(request: Request) -> Response:
    """The API's routes as a page, made of its own description."""
    return HTMLResponse(description.page(request.app.openapi()))


def _logged_in(request: Request, given: str, *, as_json: bool = False) -> Response:
    token = request.app.state.token
    if token is not None and not tokens.matches(given.strip(), token):
        return refusal(401, "this is not the token") if as_json else _login_page("That is not the token.", 401)
    answer: Response = JSONResponse({"status": "ok"}) if as_json else RedirectResponse("/", 303)
    if token is not None:
        secure = request.url.scheme == "https"
        answer.set_cookie(COOKIE, token, httponly=True, samesite="strict", secure=secure, max_age=30 * 86400)
    return answer


def _login_page(sentence: str, status: int = 200) -> Response:
    return HTMLResponse(LOGIN.format(sentence=html.escape(sentence)), status)


def _web_file(name: str) -> Response:
    path = (WEB / name).resolve()
    if path.suffix not in KINDS or not path.is_relative_to(WEB.resolve()) or not path.is_file():
        return refusal(404, "there is no such page")
    return FileResponse(path, headers={"cache-control": "no-cache"})
