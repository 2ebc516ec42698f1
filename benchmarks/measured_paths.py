"""What benchmarks keep of a path: built by `ch.connect`, measured by `ch.evaluate`, and known again in the next run."""

import json
import time

import connectivity_hooks as ch

NONE = "none"


class Results:
    """Rows of a table in a JSON file, written after each, so that a run that was cut short goes on.

    Args:
        file: The file; one process writes to it.

    Attributes:
        rows: Of this run and of earlier ones.
    """

    def __init__(self, file):
        self._file = file
        self.rows = json.loads(file.read_text()) if file.exists() else []

    def row(self, key, make):
        """Return the row of a key, a dict, made now if it is not known: the key and what `make` returns."""
        key = json.loads(json.dumps(key))
        for row in self.rows:
            if all(row.get(name) == value for name, value in key.items()):
                return row
        self.rows.append({**key, **make()})
        self._file.write_text(json.dumps(self.rows, indent=1))
        return self.rows[-1]


def measured(files, task, part, *, builder, options, align=NONE, correct=None, points=21, keep=None, progress=None):
    """Return the figures of one path between two files, and everything that was measured along it.

    Args:
        files: The ends.
        task: What the builder works on.
        part: The task with the samples that are measured.
        builder: Its name.
        options: Its options.
        align: Name of an aligner, or ``none``.
        correct: Name of a correction, or None.
        points: At how many t.
        keep: Folder where unfinished work is kept.
        progress: Shows the building.
    """
    shown = {} if progress is None else {"progress": progress}
    started = time.perf_counter()
    aligner = None if align == NONE else align
    path = ch.connect(*files, task, builder=builder, options=options, align=aligner, keep=keep, **shown)
    built = time.perf_counter() - started
    found = ch.evaluate(path, part, points=points, refine=0, correct=correct, keep=keep)
    figures = {"built_s": built, "measured_s": time.perf_counter() - started - built, "length": found.length}
    for split, at in found.barriers.items():
        figures |= {
            f"{split}_loss_max": at.loss_max,
            f"{split}_loss_ends": at.loss_ends,
            f"{split}_bound": found.bound[split],
        }
        figures |= {f"{split}_error_max": at.error_max, f"{split}_error_ends": at.error_ends}
        figures |= {f"{split}_loss_t": at.climb_t, f"{split}_error_t": at.error_climb_t}
    figures["curves"] = {split: [[at.t, at.loss, at.error] for at in curve] for split, curve in found.curves.items()}
    return figures
