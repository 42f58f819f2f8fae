"""The table of settings in README.md, written from ``pipeline.settings`` so that it cannot go stale.

``python -m pipeline.settings_table README.md`` rewrites the table between its two marks; a test compares.
"""

import json
import sys
from pathlib import Path

from pydantic.fields import FieldInfo

from pipeline.errors import TerminalError
from pipeline.settings import Settings

BEGIN = "<!-- settings: begin -->"
END = "<!-- settings: end -->"


class NoTablePlaceError(TerminalError):
    """The document does not hold the two marks between which the table belongs."""

    def __init__(self) -> None:
        super().__init__(f"expected the lines {BEGIN!r} and {END!r}, in this order, around the table of settings")


def settings_table() -> str:
    """Return the settings as a Markdown table: variable, default, meaning; in the order of the class."""
    prefix = Settings.model_config["env_prefix"]
    rows = ["| Variable | Default | Meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        rows.append(f"| `{prefix}{name.upper()}` | {_default(field)} | {field.description} |")
    return "\n".join(rows)


def replace_table(document: str) -> str:
    """Put the current table between the marks of a document.

    Args:
        document: Markdown text that holds both marks.

    Returns:
        The document with everything between the marks replaced.

    Raises:
        NoTablePlaceError: a mark is missing, or they are in the wrong order.
    """
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise NoTablePlaceError
    return f"{before}{BEGIN}\n\n{settings_table()}\n\n{END}{after}"


def _default(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True, validated_data={})
    if default is None or default == {}:
        return "unset"
    if isinstance(default, (bool, list, dict)):
        return f"`{json.dumps(default)}`"
    return f"`{default}`"


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        path.write_text(replace_table(path.read_text(encoding="utf-8")), encoding="utf-8")
