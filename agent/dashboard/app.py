"""What the dashboard serves: the page and its assets, news of the memory, images, and the ways in which it is told.

One WebSocket a tab says that something changed; all else is plain HTTP. Each way in is a POST of JSON with a key, so
that what is sent twice is done once.
"""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from agent.dashboard.access import Guard
from agent.dashboard.begin import begin
from agent.dashboard.files import PAGE, content_of, type_of
from agent.dashboard.samples import sample, seeds
from agent.dashboard.talk import Talks
from agent.dashboard.watch import Watch
from diffusion.errors import UserError

KEY = re.compile(r"[A-Za-z0-9-]{8,64}")
LONGEST_LINE = 4_000  # characters of a message
LARGEST_BODY = 64_000  # bytes


@dataclass(frozen=True)
class Dashboard:
    """The memory, the run folder if one was named, and the search that is shown first."""

    watch: Watch
    talks: Talks
    out: Path | None
    first: str | None

    async def page(self, request: Request) -> Response:
        """The page itself: the same for every memory."""
        return Response(content_of(PAGE), media_type=type_of(PAGE))

    async def file(self, request: Request) -> Response:
        """An asset by its name."""
        name = request.path_params["name"]
        try:
            return Response(content_of(name), media_type=type_of(name))
        except FileNotFoundError:
            raise HTTPException(404, f"{name!r} is no file of the dashboard.") from None

    async def news(self, request: Request) -> Response:
        """What a tab lacks."""
        asked = request.query_params
        name, have, shown = asked.get("search") or self.first, asked.get("have", "0"), asked.get("shown", "0")
        if not (have + shown).isascii() or not have.isdigit() or not shown.isdigit():
            raise HTTPException(400, "have and shown are numbers.")
        told = await run_in_threadpool(self.watch.news, name, asked.get("epoch", ""), int(have[:15]), int(shown[:15]))
        return JSONResponse({**told, "questions": self.talks.questions(told["search"])})

    async def samples(self, request: Request) -> Response:
        """The seeds of a trial's grids."""
        found = await run_in_threadpool(seeds, self.watch, self.out, *_numbers(request, "search", "trial"))
        return JSONResponse(found)

    async def sample(self, request: Request) -> Response:
        """A grid by the number of its trial and its seed: no path comes from outside."""
        found = await run_in_threadpool(sample, self.watch, self.out, *_numbers(request, "search", "trial", "seed"))
        if found is None:
            raise HTTPException(404, "There is no such image.")
        return Response(found, media_type="image/webp")

    async def say(self, request: Request) -> Response:
        """A line of the chat; what is said to it, as lines of JSON."""
        key, told = await _told(request)
        line = str(told.get("text", "")).strip()
        if not line or len(line) > LONGEST_LINE:
            raise UserError(f"'{line[:40]}' is no message of 1 to {LONGEST_LINE} characters")
        talk = self.talks.about(*_numbers(request, "search"))
        turn = talk.take(key, line, asyncio.get_running_loop())

        async def lines() -> AsyncIterator[str]:
            async for event in turn.follow():
                yield json.dumps(event) + "\n"
            yield json.dumps({"done": key}) + "\n"

        return StreamingResponse(lines(), media_type="application/x-ndjson")

    async def reply(self, request: Request) -> Response:
        """A yes or no to a question of the chat."""
        _, told = await _told(request, by_key=False)
        if not isinstance(told.get("agreed"), bool):
            raise UserError("'agreed' is true or false")
        self.talks.about(*_numbers(request, "search")).reply(request.path_params["name"], told["agreed"])
        return Response(status_code=204)

    async def begin(self, request: Request) -> Response:
        """A new search."""
        key, told = await _told(request)
        settings = told.get("settings")
        if not isinstance(settings, dict):
            raise UserError("'settings' are names with values")
        return JSONResponse({"said": await run_in_threadpool(begin, settings, self.watch.path, self.out, key)})

    async def notices(self, socket: WebSocket) -> None:
        """Versions, as they come."""
        await socket.accept()
        queue: asyncio.Queue[int] = asyncio.Queue(maxsize=1)
        self.watch.listeners.add(queue)

        async def send_all() -> None:
            await socket.send_text(str(self.watch.version))
            while True:
                await socket.send_text(str(await queue.get()))

        sending = asyncio.create_task(send_all())
        try:
            while True:
                await socket.receive_text()  # ends with the tab, which sending alone would not notice
        except WebSocketDisconnect:
            pass
        finally:
            self.watch.listeners.discard(queue)
            sending.cancel()

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Look at the memory for as long as the server runs."""
        looking = asyncio.create_task(self.watch.run())
        yield
        looking.cancel()
        self.talks.close()
        self.watch.close()

    def routes(self) -> list[Any]:
        """What is served where."""
        return [
            Route("/", self.page),
            Route("/assets/{name}", self.file),
            Route("/news", self.news),
            Route("/searches", self.begin, methods=["POST"]),
            Route("/searches/{search:int}/say", self.say, methods=["POST"]),
            Route("/searches/{search:int}/questions/{name}", self.reply, methods=["POST"]),
            Route("/searches/{search:int}/samples/{trial:int}", self.samples),
            Route("/searches/{search:int}/samples/{trial:int}/{seed:int}", self.sample),
            WebSocketRoute("/notices", self.notices),
        ]


def make_app(
    path: Path, out: Path | None, first: str | None, *, host: str, port: int, token: str | None = None
) -> Starlette:
    """The dashboard of a memory, for a server that is bound to this host and port."""
    watch = Watch(path)
    found = Dashboard(watch, Talks(path, watch.touch), out, first)
    return Starlette(
        routes=found.routes(),
        middleware=[Middleware(Guard, host=host, port=port, token=token)],
        exception_handlers={UserError: _mistake, HTTPException: _refused},
        lifespan=found.lifespan,
    )


async def _told(request: Request, *, by_key: bool = True) -> tuple[str, dict[str, Any]]:
    """The key and the rest of what a tab sends.

    Raises:
        UserError: it is no JSON object, too large, or without a key where there must be one.
    """
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_BODY:
            raise UserError(f"'{body[:20].decode(errors='replace')}…' is more than {LARGEST_BODY} bytes")
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        raise UserError(f"'{body[:40].decode(errors='replace')}' is not JSON") from None
    if not isinstance(told, dict):
        raise UserError(f"'{body[:40].decode(errors='replace')}' is not a JSON object")
    key = str(told.get("key", ""))
    if by_key and not KEY.fullmatch(key):
        raise UserError(f"'{key[:40]}' is no key of 8 to 64 letters, digits and dashes")
    return key, told


def _numbers(request: Request, *names: str) -> list[int]:
    """Numbers of the path; those that SQLite cannot hold are none of anything."""
    found = [int(request.path_params[name]) for name in names]
    if any(number >= 2**63 for number in found):
        raise HTTPException(404, "There is nothing of that number.")
    return found


async def _mistake(request: Request, error: Exception) -> Response:
    return PlainTextResponse(f"{error}\n", 409)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return PlainTextResponse(f"{error.detail}\n", error.status_code)
