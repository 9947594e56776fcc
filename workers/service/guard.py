"""What every request passes before any route sees it: its host, its size, its token, and where it comes from."""

from __future__ import annotations

from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workers.service import token as tokens
from workers.service.settings import Settings, is_loopback

COOKIE = "slt_token"
OPEN = frozenset({"/healthz", "/login", "/static/login.css", "/static/login.js", "/static/icon.svg", "/favicon.ico"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
BODIES_NO_FORM_SENDS = ("application/json", "application/yaml")
POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
)
"""Plotly sets styles from its script, so these may be inline; scripts never."""
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "SAMEORIGIN",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
    """ASGI middleware.

    Args:
        app: what lies behind.
        settings: of the service.
        token: the bearer token, or None if the service has none.
    """

    def __init__(self, app: ASGIApp, settings: Settings, token: str | None) -> None:
        self.app, self.settings, self.token = app, settings, token
        self.hosts = _hosts(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what may not pass; add the headers to every answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refused = self._refusal(scope)
        await (refused or self.app)(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if self.hosts and _host(headers.get("host", "")) not in self.hosts:
            return refusal(421, "this host name is not the service's; open it by its own address, or add allowed_hosts")
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self.settings.max_body_bytes:
            return refusal(413, f"the body is larger than {self.settings.max_body_bytes:,} bytes")
        if self.token is not None and scope["path"] not in OPEN and not self._knows_token(headers, scope):
            if scope["path"] == "/" and "text/html" in headers.get("accept", ""):  # a person, not a program
                return RedirectResponse("/login", 303)
            return refusal(401, "a token is needed: send 'Authorization: Bearer TOKEN', or log in at /login")
        if scope["method"] not in SAFE_METHODS and scope["path"] != "/login" and not _not_from_a_form(headers):
            return refusal(
                403, "a request that changes something needs Content-Type application/json or yaml, or 'X-SLT: 1'"
            )
        return None

    def _knows_token(self, headers: Headers, scope: Scope) -> bool:
        assert self.token is not None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme:
            return scheme.lower() == "bearer" and tokens.matches(given.strip(), self.token)
        if scope["path"] == "/" and b"token=" in scope["query_string"]:  # the link printed at the start; / checks it
            return True
        return tokens.matches(_cookie(headers), self.token)


def refusal(status: int, sentence: str) -> Response:
    """An error of the API."""
    headers = {"www-authenticate": "Bearer"} if status == 401 else None
    return JSONResponse({"error": sentence}, status, headers)


def _cookie(headers: Headers) -> str:
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel else ""


def _not_from_a_form(headers: Headers) -> bool:
    """Whether no form of another site can have sent it: these headers need the consent that we never give."""
    media = headers.get("content-type", "").partition(";")[0].strip().lower()
    return media in BODIES_NO_FORM_SENDS or headers.get("x-slt") == "1"


def _hosts(settings: Settings) -> Collection[str]:
    """Names in the Host header; on a loopback service another name is a page that rebinds its own to 127.0.0.1."""
    if is_loopback(settings.host):
        return {"127.0.0.1", "localhost", "::1", settings.host.strip("[]"), *settings.allowed_hosts}
    return {*settings.allowed_hosts, settings.host} if settings.allowed_hosts else ()


def _host(header: str) -> str:
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.rpartition(":")[0] if ":" in header else header
