"""``python -m agent`` is ``diffnas-agent``."""

from agent.cli.main import main

main()
