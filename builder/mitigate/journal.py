"""The journal of a training: a line now and then, as CSV, in TensorBoard and on the console."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from torch.utils.tensorboard import SummaryWriter

from builder.storage.files import atomic_write

JOURNAL_FILE = "log.csv"
STEP = "step"

Line = dict[str, float]
"""Numbers by name, the step first; a name that has none has no entry."""


class Journal:
    """Writes the lines of a training.

    Parameters
    ----------
    out : Path
    steps : int
        After how many it goes on; what was written of later ones is crossed out.
    columns : iterable of str
        After that of steps.
    """

    def __init__(self, out: Path, steps: int, columns: Iterable[str]) -> None:
        self.path = out / JOURNAL_FILE
        self._columns = [STEP, *columns]
        kept = [line for line in read_journal(out) if line[STEP] <= steps]
        with atomic_write(self.path) as file:
            file.write(self._text(kept, header=True))
        self._board = SummaryWriter(str(out / "tensorboard"), purge_step=steps + 1)

    def write(self, line: Line, speed: float | None = None) -> None:
        """Write a line; images per second are for TensorBoard, as no run repeats them."""
        with self.path.open("ab") as file:
            file.write(self._text([line]))
        shown = {**line, **({} if speed is None else {"images_per_second": speed})}
        for name, value in shown.items():
            if name != STEP:
                self._board.add_scalar(name, value, int(line[STEP]))
        self._board.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._board.close()

    def _text(self, lines: Iterable[Line], *, header: bool = False) -> bytes:
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns, lineterminator="\n")
        if header:
            writer.writeheader()
        for line in lines:
            writer.writerow({name: format(value, ".9g") for name, value in line.items()})
        return text.getvalue().encode()


def read_journal(out: Path) -> list[Line]:
    """Return the lines that were written; the last may be but half of one, and is left out."""
    path = out / JOURNAL_FILE
    if not path.exists():
        return []
    whole, _, _ = path.read_text("utf-8").rpartition("\n")
    return [
        {name: float(value) for name, value in row.items() if value}
        for row in csv.DictReader(whole.splitlines())
    ]
