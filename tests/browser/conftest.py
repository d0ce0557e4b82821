"""A real browser, Debian's chromium, and pages of which nothing may go wrong: no error, no request off this machine."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from browsing import ARGUMENTS, ON_THIS_MACHINE, SIZES
from dashboards import Running, dashboard

OpenPage = Callable[..., Any]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser; where it is missing the tests are skipped with the reason, under CI they fail."""
    found = shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        found = None
    if found is None:
        missing = "chromium or playwright is not here; `make browser` installs both where it may"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def serving() -> Iterator[Callable[..., Running]]:
    """Begins dashboards that live until the pages of the test are closed: a page misses its server on the console."""
    with ExitStack() as stack:
        yield lambda folder, **options: stack.enter_context(dashboard(folder, **options))


@pytest.fixture
def open_page(chromium: Any, serving: Any) -> Iterator[OpenPage]:
    """Opens pages of their own; at the end of the test none of them may have said an error or asked another machine."""
    contexts, bad = [], []

    def watch(page: Any, is_lost: bool) -> None:
        def heard(message: Any) -> None:
            if message.type in ("error", "warning") and not (is_lost and "net::ERR_" in message.text):
                bad.append(message.text)

        page.on("console", heard)
        page.on("dialog", lambda asked: (bad.append(f"a dialog: {asked.message}"), asked.dismiss()))
        page.on("pageerror", lambda error: bad.append(str(error)))
        page.on("request", lambda asked: None if ON_THIS_MACHINE.match(asked.url) else bad.append(asked.url))
        page.on("websocket", lambda socket: None if ON_THIS_MACHINE.match(socket.url) else bad.append(socket.url))

    def opened(url: str, size: str = "wide", scheme: str = "light", is_lost: bool = False, **options: Any) -> Any:
        width, height = SIZES[size]
        context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, **options)
        contexts.append(context)
        page = context.new_page()
        watch(page, is_lost)  # a server that is to die is missed on the console
        page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert bad == []


@pytest.fixture
def shot(request: pytest.FixtureRequest) -> Callable[[Any, str], None]:
    """Keeps a picture of a page in the folder that ``SCREENSHOTS`` names, where one is named."""
    folder = os.environ.get("SCREENSHOTS")

    def take(page: Any, name: str) -> None:
        if folder:
            page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)

    return take
