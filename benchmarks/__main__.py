"""``python -m benchmarks [section ...]``: run sections, print figures, write ``benchmarks/results/<name>.json``."""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import floor, fold, funnel, history, memory, visible
from benchmarks.machine import describe

RESULTS = Path(__file__).parent / "results"

SECTIONS: dict[str, tuple[Callable[[int], dict[str, Any]], int, str]] = {
    "floor": (floor.run, 400_000, "events"),
    "fold": (fold.run, 1_000, "vacancies in the year"),
    "funnel": (funnel.run, 2_500, "vacancies in the year"),
    "history": (history.run, 2_500, "vacancies in the year"),
    "visible": (visible.run, 30, "seconds"),
    "memory": (memory.run, 100_000, "open applications"),
}
"""Section, its size by default (small: all together take less than eight minutes), and what the size means."""


def main() -> None:
    """Run the sections that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="section", help=", ".join(SECTIONS))
    for name, (_, size, unit) in SECTIONS.items():
        parser.add_argument(f"--{name}-size", type=int, default=size, help=f"{unit}; {size:,} by default")
    options = vars(parser.parse_args())
    unknown = sorted(set(options["sections"]) - set(SECTIONS))
    if unknown:
        parser.error(f"no section {', '.join(unknown)}; known: {', '.join(SECTIONS)}")
    RESULTS.mkdir(exist_ok=True)
    for name in options["sections"] or SECTIONS:
        run, _, unit = SECTIONS[name]
        size = options[f"{name}_size"]
        print(f"-- {name} ({size:,} {unit})", flush=True)
        started, about = time.monotonic(), describe()
        result = {**about, "size": {unit: size}, **run(size)}
        result["seconds_taken"] = round(time.monotonic() - started, 1)
        (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
        for key, value in result.items():
            if key not in about and not key.startswith("profile"):
                print(f"   {key}: {json.dumps(value)}", flush=True)


if __name__ == "__main__":
    main()
