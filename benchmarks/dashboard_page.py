"""How long the dashboard takes to show a search of 1,000 trials and a new score of it, and what it costs to stand idle.

The memory is that of `benchmarks/report_page.py`; the search is driven by this process, as far as its lease says. The
dashboard is a process of its own, the tabs are those of Debian's chromium (`make browser` installs it). Seconds of a
tab are from the call that opens it to the last figure of 1,000 trials; CPU is that of the dashboard alone.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import Page, sync_playwright

from memory.connection import opened
from memory.leases import take_lease
from memory.scores import add_score
from memory.searches import find_protocol, find_search, set_state
from memory.trials import trial_scored
from report_page import ROOT, make_searched

ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage"]
SETTLED_SECONDS = 5.0  # after the last score: tabs draw a second or two
LAST_DRAWN = "() => document.querySelector('#effects svg.plot, [id^=effect-] svg.plot') !== null"
PAINTED = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
ROWS = "() => document.querySelectorAll('#trials tbody tr').length"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1_000)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--idle-seconds", type=float, default=60.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        memory = Path(folder) / "memory.db"
        make_searched(memory, asked.trials)
        with opened(memory) as db:
            take_lease(db, 1)
            set_state(db, 1, "running")
        command = [sys.executable, "-m", "agent", "dashboard", "--db", str(memory), "--port", "0"]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        try:
            assert process.stdout
            measure(browser, process, memory, process.stdout.readline().strip(), asked)
        finally:
            browser.close()
            process.kill()


def measure(browser: Any, process: "subprocess.Popen[str]", memory: Path, url: str, asked: argparse.Namespace) -> None:
    """The three figures, each printed when it is known."""
    pages: list[Page] = []
    for turn in range(max(3, asked.turns)):
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        started = time.monotonic()
        page.goto(url)
        page.wait_for_function(LAST_DRAWN)
        shown = time.monotonic() - started
        print(f"tab {turn + 1}: first paint {page.evaluate(PAINTED) / 1000:.2f} s, all drawn {shown:.2f} s, "
              f"{page.evaluate(ROWS)} rows", flush=True)  # fmt: skip
        pages.append(page) if turn < 3 else page.close()
    waits = [wait_for_score(pages[0], memory) for _ in range(asked.turns)]
    print(f"a new score is shown after {statistics.median(waits):.2f} s ({min(waits):.2f} to {max(waits):.2f})")
    served = psutil.Process(process.pid)
    time.sleep(SETTLED_SECONDS)
    before, started = sum(served.cpu_times()[:2]), time.monotonic()
    time.sleep(asked.idle_seconds)
    share = (sum(served.cpu_times()[:2]) - before) / (time.monotonic() - started)
    print(f"idle with {len(pages)} tabs: {share:.2%} of a core, {served.memory_info().rss / 1e6:.0f} MB")


def wait_for_score(page: Page, memory: Path) -> float:
    """Score a trial that had failed; seconds until its row says so."""
    with opened(memory) as db:
        trial, training = db.conn.execute(
            "SELECT id, training FROM trials WHERE state = 'failed' ORDER BY id LIMIT 1"
        ).fetchone()
        db.conn.execute("UPDATE trials SET state = 'trained', error = NULL WHERE id = ?", [trial])
        protocol = find_protocol(db, find_search(db, "1").protocol)
        add_score(
            db, training, step=protocol.strategy.train_steps, protocol=protocol, sampling_seed=0,
            metric=protocol.score.metric, value=12.5, num_images=16, device_seconds=2.0,
        )  # fmt: skip
        trial_scored(db, trial)
        started = time.monotonic()
    page.wait_for_function(
        "trial => document.querySelector(`#trial-${trial}`)?.textContent.includes('12.5')", arg=trial, polling=20
    )
    return time.monotonic() - started


if __name__ == "__main__":
    main()
