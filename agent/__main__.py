"""``python -m agent`` is ``diffnas-agent``."""

from agent.cli import main

main()
