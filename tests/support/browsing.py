"""What tests in a browser share: how it is started, at which sizes, and what axe finds on a page."""

import re
from pathlib import Path
from typing import Any

AXE = Path(__file__).parents[1] / "browser" / "axe" / "axe.min.js"
ON_THIS_MACHINE = re.compile(r"(http|ws)://127\.0\.0\.1:|file:|data:|blob:")
ARGUMENTS = [
    "--no-sandbox", "--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]  # fmt: skip
SERIOUS = ("serious", "critical")
SIZES = {"wide": (1280, 900), "narrow": (400, 800)}
SCHEMES = ("light", "dark")


def serious_problems(page: Any) -> list[str]:
    """What axe finds that keeps people out: each rule with the first elements that break it."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{each['id']}: {each['help']}: {[node['html'][:120] for node in each['nodes'][:3]]}"
        for each in found["violations"]
        if each["impact"] in SERIOUS
    ]
