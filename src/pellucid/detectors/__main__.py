"""``python -m pellucid.detectors`` writes the table that :func:`pellucid.detectors.describe` reads without torch."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from pprint import pformat

from pellucid import detectors
from pellucid._io.files import write_text

TABLE_TOP = '''"""What is known of each detector without importing torch: made by ``python -m pellucid.detectors``."""
# fmt: off

from typing import Any

TABLE: dict[str, dict[str, Any]] = \\
'''


def write_table() -> bool:
    """Write the table anew if a detector is new, gone or changed; return whether that was so."""
    if detectors.table_is_current():
        return False
    table = {}
    for name in sorted(detectors.own_names()):
        entry = asdict(detectors.describe_class(name, detectors.class_of(name)))
        del entry["name"], entry["distribution"]
        table[name] = entry | {"source_sha256": detectors.source_sha256(name)}
    write_text(Path(__file__).with_name("_table.py"), f"{TABLE_TOP}{pformat(table, width=110, sort_dicts=False)}\n")
    return True


if __name__ == "__main__":
    write_table()
