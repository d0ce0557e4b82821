"""What a page shows, in parts that know when they changed: whoever has a version is given what is newer."""

from collections.abc import Hashable, Mapping
from typing import Any


class Parts:
    """Values by name and rows by name and key, each with the version at which it became what it is."""

    def __init__(self) -> None:
        self._values: dict[str, tuple[int, Any]] = {}
        self._rows: dict[str, dict[Hashable, tuple[int, Any]]] = {}

    def put(self, name: str, value: Any, version: int) -> bool:
        """Keep a value; whether it is another one."""
        known = self._values.get(name)
        if known is not None and known[1] == value:
            return False
        self._values[name] = version, value
        return True

    def put_rows(self, name: str, rows: Mapping[Any, Any], version: int, *, all_of_them: bool = True) -> bool:
        """Keep rows, which are `all_of_them` or some to be added; whether anything is another."""
        known = self._rows.setdefault(name, {})
        changed = {key: (version, row) for key, row in rows.items() if key not in known or known[key][1] != row}
        order = list(rows if all_of_them else {**known, **rows})
        is_new = bool(changed) or order != list(known)
        kept = {**known, **changed}
        self._rows[name] = {key: kept[key] for key in order}
        return self.put(f"{name} in order", order, version) or is_new

    def row(self, name: str, key: Hashable) -> Any:
        """One row; None where there is none."""
        found = self._rows.get(name, {}).get(key)
        return None if found is None else found[1]

    def since(self, have: int) -> dict[str, Any]:
        """What is newer than a version: `values` by name, `rows` by name as pairs of key and row, and all keys in
        their order in `orders` where that is another.
        """
        orders = {name: order for name, (version, order) in self._values.items() if name.endswith(" in order")}
        return {
            "values": {
                name: value for name, (version, value) in self._values.items() if version > have and name not in orders
            },
            "rows": {
                name: [[key, row] for key, (version, row) in rows.items() if version > have]
                for name, rows in self._rows.items()
                if any(version > have for version, _ in rows.values())
            },
            "orders": {
                name.removesuffix(" in order"): order for name, order in orders.items() if self._values[name][0] > have
            },
        }
