"""What happens before any command imports a thing: what is not imported."""

import sys

SPARED = ("pandas", "numpy")  # sqlite-utils takes them along where it finds them: 0.4 s for types never stored here


def spare_imports() -> None:
    """Import sqlite-utils without the packages that it could do without."""
    if "sqlite_utils" in sys.modules:
        return
    spared = [name for name in SPARED if name not in sys.modules]
    for name in spared:
        sys.modules[name] = None  # type: ignore[assignment]  # so that importing it fails, here alone
    import sqlite_utils  # noqa: F401

    for name in spared:
        del sys.modules[name]
