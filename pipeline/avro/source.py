"""A function being written: its lines, and the objects that they refer to by name.

Compiled text consists of our own templates and generated names only; nothing of a schema enters it as text.
"""

from typing import Any


class FunctionSource:
    """Collects the lines of one function and compiles it."""

    def __init__(self, signature: str, **names: object) -> None:
        self._lines = [f"def compiled({signature}):"]
        self._namespace: dict[str, Any] = dict(names)
        self._count = 0

    def line(self, depth: int, text: str) -> None:
        """Append a line, ``depth`` levels inside the function body."""
        self._lines.append(" " * (depth + 1) + text)

    def variable(self) -> str:
        """Return a name that is used nowhere else in the function."""
        self._count += 1
        return f"v{self._count}"

    def bind(self, value: object) -> str:
        """Return a name by which the function reaches the object."""
        name = f"c{len(self._namespace)}"
        self._namespace[name] = value
        return name

    def compile(self, name: str) -> Any:
        """Return the finished function; ``name`` is what a traceback shows as its file."""
        exec(compile("\n".join(self._lines), f"<avro {name}>", "exec"), self._namespace)  # noqa: S102  our text only
        return self._namespace["compiled"]
