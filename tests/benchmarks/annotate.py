"""How long the pages of annotate take, for one person and for eight at once.

``python -m tests.benchmarks.annotate``
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from functools import partial
from pathlib import Path

from tests.annotate.site.server import Client, serving
from tests.annotate.site.test_serve import check_crowd, choose


def main() -> None:
    """Print how long pages take; fail if an answer is lost, or is there twice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classes", type=int, default=40, help="of five pairs, of five answers")
    classes = parser.parse_args().classes
    with tempfile.TemporaryDirectory() as directory:
        with serving(Path(directory), "--classes", str(classes)) as server:
            person = Client(server, "Ada", partial(choose, 1))
            person.answer_all(most=100)
        _print("one person", person.seconds[5:])
    with tempfile.TemporaryDirectory() as directory:
        seconds = check_crowd(Path(directory), classes)
        _print(f"eight people at once, {25 * classes:,} answers, one kill -9", seconds)


def _print(who: str, seconds: list[float]) -> None:
    slowest = sorted(seconds)[int(0.95 * len(seconds))]
    median = statistics.median(seconds)
    print(f"{who}: {1000 * median:.1f} ms per page, 95 % below {1000 * slowest:.1f} ms")


if __name__ == "__main__":
    main()
