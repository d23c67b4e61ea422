"""``epochd bench``: how fast each installed engine is on this machine, for ``framework: auto``. What measures is
imported inside the functions, because it imports NumPy, which no other command should wait for."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from math import isfinite
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Annotated

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from typer import Option

from epochd.cli.console import err, number, print_line, show, show_table, warn
from epochd.cli.local import setting
from epochd.core.errors import EpochdError, FrameworkMissing
from epochd.core.settings import load

if TYPE_CHECKING:
    from epochd.engines.speeds import Table


class SizeName(StrEnum):
    SMALL = "small"
    MEDIUM = "medium"
    LARGE = "large"


def bench(
    data_dir: Annotated[Path | None, setting("data_dir")] = None,
    size: Annotated[
        list[SizeName] | None, Option(help="Measure networks of this size only; repeat it for several.")
    ] = None,
    seconds: Annotated[float, Option(min=0.0, help="How long each network is trained after its compilation.")] = 0.3,
    as_json: Annotated[bool, Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Measure each installed engine on this machine, and store the table that `"framework": "auto"` uses.

    This takes a minute or two on two cores; do it while nothing is trained. A running server uses the table at once."""
    from epochd.engines import registry  # noqa: PLC0415
    from epochd.engines.speeds import Speeds  # noqa: PLC0415

    settings = load(data_dir=data_dir)
    if missing := registry.none_installed():
        raise FrameworkMissing(missing)
    with _storing(settings.speeds_dir) as folder:
        TemporaryFile(dir=next(path for path in (folder, *folder.parents) if path.exists())).close()
    table = _measured(
        [one.value for one in size or SizeName],
        seconds,
        threads=max(1, (os.cpu_count() or 1) // max(1, settings.slots)),
    )
    with _storing(settings.speeds_dir) as folder:
        Speeds(folder).write_table(table)
    if as_json:
        print_line(json.dumps(table.as_json(), indent=1))
    else:
        show_table(
            [
                "network",
                "engine",
                "start s",
                "import s",
                "compile s",
                "step overhead µs",
                "s per GFLOP",
                "all threads from GFLOP",
            ],
            _rows(table),
        )
        show(f"stored in {settings.speeds_dir}", to=err)


@contextmanager
def _storing(folder: Path) -> Iterator[Path]:
    """Raise EpochdError if the block cannot write to the folder."""
    try:
        yield folder.absolute()
    except OSError as error:
        raise EpochdError(f"measured speeds cannot be stored in {folder}: {error.strerror or error}") from error


def _measured(sizes: list[str], seconds: float, *, threads: int) -> "Table":
    """The table, with a progress bar; an engine that cannot be measured is left out, with a warning. Raises EpochdError
    if none can."""
    from epochd.engines import registry  # noqa: PLC0415
    from epochd.worker import measurement  # noqa: PLC0415

    engines = registry.installed()
    runs = [(engine, count, names) for engine in engines for count, names in measurement.runs(sizes, threads)]
    total = sum(len(measurement.SIZES[name]) for _, _, names in runs for name in names)
    found, failure = [], None
    with Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=err) as progress:
        bar = progress.add_task("", total=total)
        for engine, count, names in runs:
            progress.update(bar, description=engine)
            try:
                for line in measurement.measured(engine, names, threads=count, seconds=seconds):
                    found.append(line)
                    progress.update(bar, advance=line.sample is not None)
            except EpochdError as error:
                warn(error.message)
                failure = error
    if failure is not None and not any(line.sample for line in found):
        raise failure
    return measurement.table(found, threads=threads)


def _rows(table: "Table") -> Iterator[list[str]]:
    for kind, row in table.speeds.items():
        for engine, speed in row.items():
            process = [number(table.processes[engine][name]) for name in ("start", "import")]
            limit = table.threads.get(kind, {}).get(engine)
            several = "" if limit is None else number(limit / 1e9) if isfinite(limit) else "–"
            speeds = number(speed.compile), number(1e6 * speed.step), number(speed.gflop)
            yield [kind, engine, *process, *speeds, several]
