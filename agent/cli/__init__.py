"""The command line: the command ``X`` is ``agent/cli/X.py`` and holds its options alone."""
