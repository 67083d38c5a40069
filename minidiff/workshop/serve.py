"""`minidiff serve`: orders come in over HTTP, and pictures go out. FastAPI and uvicorn, from the extra `production`.

What an order may say, and how orders are drawn together, stands in `studio`. Here are the addresses, what is said
where something is wrong (always one sentence of JSON with a status of 4xx, or 503 where it is no fault of the order's),
and the page. This is the only module that imports FastAPI and uvicorn.
"""

import asyncio
import contextlib
import socket
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import asdict
from importlib.resources import files
from typing import NamedTuple

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException

from minidiff.workshop.runs import stopping
from minidiff.workshop.studio import BadOrder, Busy, Drawing, Model, NoJson, Studio, order_of
from minidiff.workshop.workers import Refused

__all__ = ["app_of", "running", "serve"]

PAGE = "serve.html"
BODY_SECONDS = 10.0  # until an order must have arrived whole
LEFT = 499  # the status of whoever did not wait; nobody reads it
STARTING_SECONDS = 30.0
SAFE = {  # the page may ask this server, and nobody else
    "Content-Security-Policy": (
        "default-src 'none'; connect-src 'self'; img-src 'self' data:; style-src 'unsafe-inline'; "
        "script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class Answer(NamedTuple):
    """What was drawn, and how long it took, in seconds."""

    drawing: Drawing
    seconds: float

    @property
    def headers(self) -> dict[str, str]:
        """The body of an answer is the same whenever it is asked for: how long it took stands beside it."""
        return {"Server-Timing": f"draw;dur={1000 * self.seconds:.1f}", "Cache-Control": "no-store"}


def app_of(studio: Studio) -> FastAPI:
    """The application: a page, health, and two addresses that draw."""
    app, model = FastAPI(title="minidiff", docs_url=None, redoc_url=None, openapi_url=None), studio.model

    @app.get("/")
    def page() -> HTMLResponse:
        return HTMLResponse(files("minidiff.workshop").joinpath(PAGE).read_text(encoding="utf-8"), headers=SAFE)

    @app.get("/health")
    def health() -> JSONResponse:
        ready = not studio.closing
        said = {"ready": ready, "model": model.facts(), "limits": asdict(model.limits), **studio.state()}
        return JSONResponse(said, 200 if ready else 503, {"Cache-Control": "no-store"})

    @app.post("/draw")
    async def draw(request: Request) -> Response:
        answer = await answered(studio, request)
        drawing = answer.drawing
        said = {
            "order": asdict(drawing.order),
            "told": drawing.told,
            "pictures": [b64encode(picture).decode() for picture in drawing.pictures],
            "sheet": b64encode(drawing.sheet).decode(),
        }
        if model.draws_points:
            said["points"] = drawing.x.tolist()
        return JSONResponse(said, headers=answer.headers)

    @app.post("/draw.png")
    async def draw_png(request: Request) -> Response:
        answer = await answered(studio, request)
        return Response(answer.drawing.sheet, media_type="image/png", headers=answer.headers)

    for error in (HTTPException, BadOrder, Busy, FloatingPointError, Exception):
        app.add_exception_handler(error, complaint)
    return app


async def answered(studio: Studio, request: Request) -> Answer:
    """The drawing that a request asks for. An order whose sender has left is not drawn."""
    order = order_of(studio.model, await body_of(request, studio.model.limits.body))
    began = time.perf_counter()
    answer = asyncio.wrap_future(studio.take(order))
    left = asyncio.ensure_future(leaving(request))
    try:
        await asyncio.wait({answer, left}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise HTTPException(LEFT, "whoever sent the order has left")
        return Answer(answer.result(), time.perf_counter() - began)
    finally:
        left.cancel()
        answer.cancel()


async def leaving(request: Request) -> None:
    """Returns when whoever sent a request has gone. Its body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def body_of(request: Request, most: int) -> bytes:
    """The body of a request. It is put down as soon as it is too long."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HTTPException(415, "an order must be sent with the content type application/json")
    content = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                content += part
                if len(content) > most:
                    raise HTTPException(413, f"an order must have at most {most} bytes", {"Connection": "close"})
    except TimeoutError as error:
        late = f"an order must arrive within {BODY_SECONDS:g} seconds"
        raise HTTPException(408, late, {"Connection": "close"}) from error
    return bytes(content)


async def complaint(request: Request, error: Exception) -> JSONResponse:
    """What is said where no picture goes out: one sentence."""
    path, headers = request.url.path, dict(getattr(error, "headers", None) or {})
    match error:
        case HTTPException(status_code=404):
            status, said = 404, f"there is nothing at {path!r}: the page is at /, and orders are sent to /draw"
        case HTTPException(status_code=405):
            status, said = 405, f"{path} takes {headers.get('Allow', 'other methods')}, but not {request.method}"
        case HTTPException():
            status, said = error.status_code, error.detail
        case NoJson():
            status, said = 400, str(error)
        case BadOrder():
            status, said = 422, str(error)
        case Busy():
            status, said, headers = 503, str(error), {"Retry-After": str(error.seconds)}
        case FloatingPointError():
            status, said = 500, str(error)
        case _:
            status, said = 500, f"a fault of minidiff's own, {type(error).__name__}: what was asked is not to blame"
    return JSONResponse({"error": said}, status, headers)


# Running it


@contextlib.contextmanager
def running(studio: Studio, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve in a thread, and give the address, such as http://127.0.0.1:8000. port: 0 takes any that is free.

    At the end, no new connections are accepted, and orders that were taken are drawn and answered. Raises Refused where
    nobody can listen at the address.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        why = error.strerror or str(error)
        raise Refused(
            f"--host and --port must name an address that is free here, but {host}, {port} is not: {why}"
        ) from error
    with listener:
        config = uvicorn.Config(app_of(studio), log_config=None, lifespan="off", access_log=False, ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        deadline = time.monotonic() + STARTING_SECONDS
        while not server.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError("the server has not started")
            time.sleep(0.01)
        try:
            yield f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()  # a second Ctrl-C ends the waiting; whoever still waits is told so by the studio's end


def serve(model: Model, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serve until Ctrl-C or SIGTERM, and then finish what was taken. A second Ctrl-C ends it at once."""
    with Studio(model) as studio, stopping("finishing what was taken") as stop, running(studio, host, port) as address:
        print(address, flush=True)
        print(f"{model.name} draws there, in a browser too; Ctrl-C ends it", file=sys.stderr)
        if not host.startswith("127.") and host not in ("localhost", "::1"):
            print("anybody who reaches this machine may order pictures: there is no password", file=sys.stderr)
        while not stop.wait(0.5):  # with a limit, since Windows hears no Ctrl-C while it waits without one
            pass
