"""Reports of every kind of answer, to be read as a stranger would.

python benchmarks/report_gallery.py --out gallery

Real runs on small models, those of tests/support/report_cases.py, and one with the certified builder; a folder each,
and an index with every headline. With ``--browser chromium`` a picture of each page beside it.
"""

import argparse
import html
import pathlib
import subprocess
import sys
import tempfile

import torch
from torch import nn

import connectivity_hooks as ch
from connectivity_hooks.evaluation import Evaluation
from connectivity_hooks.reports.report import Report

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests" / "support"))

from report_cases import CASES, blob_task, trained

HEIGHT = 2200  # of a picture in pixels: a whole report of two builders


def wide():
    return nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))


def certified() -> list[Evaluation]:
    """Connect two trained networks, saved to files and read back, by a proven path."""
    task = blob_task(wide)
    with tempfile.TemporaryDirectory() as folder:
        files = [pathlib.Path(folder) / f"{name}.safetensors" for name in "ab"]
        for seed, file in enumerate(files, start=1):
            model = task.factory()
            model.load_state_dict(trained(wide, seed))
            ch.save(model, file)
        return [ch.evaluate(ch.connect(*files, task, builder="certified"), task)]


def refused(value: float) -> str:
    """Return what is said of a checkpoint that holds `value`."""
    task = blob_task(wide)
    model = task.factory()
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        model[2].bias[3] = value
        file = pathlib.Path(folder) / "a.safetensors"
        ch.save(model, file)
        try:
            ch.connect(file, file, task)
        except ch.InputError as error:
            return str(error).replace(folder, "DIR")
    return "taken"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--browser", help="program that takes a picture of a page, such as chromium")
    given = parser.parse_args()
    cases = {name: case.make for name, case in CASES.items()} | {"proven-by-the-builder": certified}
    lines = []
    for name, make in cases.items():
        report = Report.of(make())
        report.save(given.out / name)
        lines += [(name, evaluation.conclusion) for evaluation in report.evaluations.values()]
        print(name, *(evaluation.conclusion.headline for evaluation in report.evaluations.values()), sep="\n    ")
        if given.browser:
            picture(given.browser, given.out / name)
    rows = [
        f"<tr><td><a href='{name}/report.html'>{name}</a><td>{found.verdict}<td>{html.escape(found.headline)}"
        for name, found in lines
    ]
    rows += [f"<tr><td>{value}<td>refused<td>{html.escape(refused(value))}" for value in (float("nan"), float("inf"))]
    (given.out / "index.html").write_text(f"<meta charset=utf-8><table>{''.join(rows)}</table>", encoding="utf-8")


def picture(browser: str, folder: pathlib.Path) -> None:
    """Take a picture of a report."""
    with tempfile.TemporaryDirectory() as profile:
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}"]
        size = [f"--window-size=1240,{HEIGHT}", f"--screenshot={(folder / 'page.png').resolve()}"]
        page = (folder / "report.html").resolve().as_uri()
        subprocess.run([browser, *flags, *size, page], check=True, capture_output=True)


if __name__ == "__main__":
    main()
