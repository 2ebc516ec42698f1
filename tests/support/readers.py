"""Every reader of the product with a valid input, ways to spoil it, and what the product does with such a file."""

import dataclasses
import io
import json
import pathlib
import pickle
import zipfile
import zlib
from importlib.util import find_spec

import numpy as np
import torch
from mutations import bytes_mutated, json_mutated, text_mutated
from PIL import Image
from small_networks import mlp, vector_task
from word_tokenizers import TEXT, save_tokenizer

import connectivity_hooks as ch
from connectivity_hooks.checkpoints import convert, read
from connectivity_hooks.connecting.pair import load_pair
from connectivity_hooks.connecting.state_file import StateFile
from connectivity_hooks.connecting.work import PairWork
from connectivity_hooks.contracts import option
from connectivity_hooks.contracts.options import make_options
from connectivity_hooks.errors import InputError
from connectivity_hooks.evaluation import evaluate
from connectivity_hooks.evaluation.barriers import barriers
from connectivity_hooks.evaluation.journal import Journal
from connectivity_hooks.paths import EndPoint, Path
from connectivity_hooks.registry import registry
from connectivity_hooks.reports.html import render_html, write_pages
from connectivity_hooks.reports.report import Report, load_saved
from connectivity_hooks.stability.finished_pairs import FinishedPairs
from connectivity_hooks.stability.inspection import Twin
from connectivity_hooks.stability.report import read_content, write_report
from connectivity_hooks.stability.report import write_pages as write_stability_pages
from connectivity_hooks.stability.result import Connection, Stability
from connectivity_hooks.tasks.data.loading import Placement, load_data
from connectivity_hooks.tasks.loss import resolve_loss
from connectivity_hooks.tasks.models import model_factory
from connectivity_hooks.tasks.skeleton import check_size
from connectivity_hooks.watching.handle import HistoryFile
from connectivity_hooks.watching.history import Row, read_history
from connectivity_hooks_timm.adapter import TimmAdapter
from connectivity_hooks_timm.folder import model_of_folder
from connectivity_hooks_timm.resuming import EpochStates
from connectivity_hooks_transformers.folder import model_of as folder_of_transformers
from connectivity_hooks_transformers.tokenizing import tokenizer_of

# Drawing takes half a second and reading a millisecond: of what is accepted, one in so many is drawn.
_DRAWN = 100
SUBJECT = {"ends": ["0" * 64, "1" * 64], "task": {"samples": {"train": 3}}}


class Reader:
    """One kind of file.

    Args:
        folder: A folder of its own, in which `prepare` makes the valid input.
    """

    file = ""
    # One number of a small file must not take memory in its own proportion; a picture's drawing takes some.
    megabytes = 500

    def __init__(self, folder):
        folder.mkdir()
        self.folder = folder
        self.target = folder / self.file
        self.prepare()
        self.valid = self.target.read_bytes() if self.file else b""

    def prepare(self):
        """Make the valid input."""
        raise NotImplementedError

    def spoiled(self, rng):
        """Return the bytes of a spoiled input."""
        return bytes_mutated(rng, self.valid)

    def use(self, rng):
        """Do what the product does with the file."""
        raise NotImplementedError

    def once(self, rng):
        """Spoil the input and use it."""
        self.target.write_bytes(self.spoiled(rng))
        self.use(rng)

    def unspoiled(self, rng):
        """Use the valid input."""
        self.target.write_bytes(self.valid)
        self.use(rng)


class Json(Reader):
    """Half of the inputs are spoiled as bytes, half as values."""

    def spoiled(self, rng):
        if rng.random() < 0.5:
            return super().spoiled(rng)
        return json_mutated(rng, json.loads(self.valid)).encode("utf-8", "surrogatepass")


class Lines(Reader):
    """A file of JSON lines, of which one is spoiled as a value in half of the inputs."""

    def spoiled(self, rng):
        if rng.random() < 0.5:
            return super().spoiled(rng)
        lines = self.valid.decode().splitlines()
        place = rng.randrange(len(lines))
        lines[place] = self.line(json_mutated(rng, json.loads(self.content(lines[place]))))
        return ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")

    def content(self, line):
        return line

    def line(self, text):
        return text


class Checkpoint(Reader):
    file = "a.safetensors"

    def prepare(self):
        self.task = vector_task(lambda: mlp(4, 3))
        for name in ("a", "b"):
            ch.save(self.task.factory(), self.folder / f"{name}.safetensors")

    def spoiled(self, rng):
        if rng.random() < 0.4:
            return super().spoiled(rng)
        length = int.from_bytes(self.valid[:8], "little")
        header = self.header(rng, json.loads(self.valid[8 : 8 + length])).encode("utf-8", "surrogatepass")
        return len(header).to_bytes(8, "little") + header + self.valid[8 + length :]

    def header(self, rng, value):
        return json_mutated(rng, value)

    def use(self, rng):
        load_pair(self.target, self.folder / "b.safetensors", self.task)


class Index(Json):
    file = "model.safetensors.index.json"

    def prepare(self):
        self.task = vector_task(lambda: mlp(4, 3))
        weights = dict(self.task.factory().state_dict())
        names = sorted(weights)
        shards = {"one.safetensors": names[:3], "two.safetensors": names[3:]}
        from safetensors.torch import save_file

        for shard, kept in shards.items():
            save_file({name: weights[name] for name in kept}, self.folder / shard)
        mapping = {name: shard for shard, kept in shards.items() for name in kept}
        self.target.write_text(json.dumps({"metadata": {"total_size": 100}, "weight_map": mapping}))
        ch.save(self.task.factory(), self.folder / "b.safetensors")

    def use(self, rng):
        load_pair(read(self.target), self.folder / "b.safetensors", self.task)


class PathFile(Checkpoint):
    file = "linear.path.safetensors"

    def prepare(self):
        self.task = vector_task(lambda: mlp(4, 3))
        points = [dict(self.task.factory().state_dict()) for _ in range(2)]
        points.insert(1, {**points[0], "1.bias": points[0]["1.bias"].index_fill(0, torch.tensor([1]), 0.5)})
        path = Path.from_points(points, guarantees=["measured", "measured"])
        ends = (EndPoint("a.safetensors", "0" * 64, "float32"), EndPoint("b.safetensors", "1" * 64, "float32"))
        options = {"seed": 0, "effort": "normal", "target_loss": None}
        path = dataclasses.replace(path, end_points=ends, builder="linear", options=options)
        path.save(self.target)

    def header(self, rng, value):
        """Spoil what the metadata says in JSON, more often than the header around it."""
        if rng.random() < 0.3:
            return json_mutated(rng, value)
        metadata = value["__metadata__"]
        name = rng.choice(["positions", "guarantees", "end_points", "alignment", "options"])
        text = json_mutated(rng, json.loads(metadata[name]))
        if rng.random() < 0.3:
            name, text = rng.choice(list(metadata)), text_mutated(rng, rng.choice(list(metadata.values())))
        return json.dumps({**value, "__metadata__": {**metadata, name: text}})

    def use(self, rng):
        path = Path.load(self.target)
        again = self.folder / "again.path.safetensors"
        path.save(again)
        assert Path.load(again).positions == path.positions
        ch.verify(again, self.task)
        json.dumps(path.options)


class Configuration(Json):
    file = "config.json"

    def prepare(self):
        arguments = {"depths": [1, 1], "act_layer": "relu", "drop_rate": 0.1}
        config = {"architecture": "resnet18", "num_classes": 10, "global_pool": "avg", "model_args": arguments}
        self.target.write_text(json.dumps(config))

    def use(self, rng):
        spec = model_of_folder(self.folder)
        if spec is not None:
            model_factory(spec)


class LibraryConfiguration(Json):
    """config.json of a folder that Transformers wrote, beside its weights."""

    file = "config.json"

    def prepare(self):
        import transformers as hf

        size = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12}
        network = hf.BertForSequenceClassification(hf.BertConfig(**size, vocab_size=11, max_position_embeddings=6))
        network.save_pretrained(self.folder)

    def use(self, rng):
        spec = folder_of_transformers(self.folder)
        if spec is not None:
            check_size(spec, [read(self.folder)])
            model_factory(spec)()


class PlainReport(Json):
    file = "report.json"

    def prepare(self):
        task = vector_task(lambda: mlp(4, 3))
        path = Path.from_points([dict(task.factory().state_dict()) for _ in range(2)])
        self.evaluation = evaluate(path, task, points=3, refine=0)
        Report.of([self.evaluation]).save(self.folder)

    def use(self, rng):
        saved = load_saved(self.folder)
        if rng.randrange(_DRAWN) == 0:
            write_pages(saved, self.folder)
        else:
            page_of(saved, self.folder)


class Measurements(PlainReport):
    file = "evaluation.csv"

    def spoiled(self, rng):
        if rng.random() < 0.5:
            return super(Json, self).spoiled(rng)
        lines = self.valid.decode().splitlines()
        place = rng.randrange(len(lines))
        cells = lines[place].split(",")
        kind = rng.random()
        if kind < 0.3:
            cells = cells[: rng.randrange(len(cells))]
        else:
            odd = ["", "nan", "inf", "-1", "1e400", "1" * 5000, "x" * 200_000, '"', '"a\n', "=1", "\0", "1_0", "٣"]
            cells[rng.randrange(len(cells))] = rng.choice(odd)
        lines[place] = ",".join(cells)
        return ("\n".join(lines) + "\n").encode()


class StabilityReport(Json):
    file = "stability.json"

    def prepare(self):
        write_report(stability_of(), self.folder)

    def use(self, rng):
        content = read_content(self.folder)
        if rng.randrange(_DRAWN) == 0:
            write_stability_pages(content, self.folder)


class History(Lines):
    file = "history.jsonl"

    def prepare(self):
        row = Row(10, 1, 1.5, 0.1, "model", "separability", "fc:input", "holds", 0.0, 0.0, "errors", "", {"draws": 3})
        file = HistoryFile(self.folder)
        file.append([row, dataclasses.replace(row, step=20, measured=None, status="invalid", reason="never fired")])
        file.close()

    def use(self, rng):
        if rng.random() < 0.3:
            read_history(self.folder)
        file = HistoryFile(self.folder)
        file.resume(15)
        file.append([])
        file.close()


class States(Json):
    file = "watch.json"

    def prepare(self):
        self.model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
        self.probe = torch.ones(4, 2), torch.zeros(4, dtype=torch.long)
        states = EpochStates(self.folder)
        state = {"format": "connectivity_hooks.watch/1", "step": 3, "epoch": 1, "elapsed": 1.5, "spent": 0.1}
        for epoch in (1, 2):
            states.add(epoch, {**state, "statuses": {"separability/fc": "holds"}})

    def use(self, rng):
        state = EpochStates(self.folder).before(2)
        if state is not None:
            watch = ch.watch(self.model, self.probe, layers=["0"], every=1000, conditions="feature-rank")
            watch.load_state_dict(state)
            watch.step()
            watch.state_dict()
            watch.remove()


class Evaluated(Lines):
    """The journal of an evaluation."""

    file = ".linear.measured.jsonl"

    def prepare(self):
        with Journal(self.target, SUBJECT) as journal:
            for t in (0.0, 1.0, 0.5):
                journal.add(measurements(t))

    def content(self, line):
        return line.partition(" ")[2]

    def line(self, text):
        return f"{zlib.crc32(text.encode('utf-8', 'surrogatepass')):08x} {text}"

    def use(self, rng):
        work = PairWork(self.folder, "linear", SUBJECT)
        assert work.path() is None  # there is none
        with work.journal() as journal:
            known = len(journal)
            for t in (0.0, 0.25):
                if journal.known(t) is None:
                    known += 1
                    journal.add(measurements(t))
        with Journal(self.target, SUBJECT) as journal:
            assert len(journal) == known


class Unfinished(Checkpoint):
    """What a builder that was killed left of its state."""

    file = ".bezier.unfinished.builder.safetensors"

    def prepare(self):
        StateFile(self.target, SUBJECT).save({"point.1/w": torch.ones(3), "rng": torch.zeros(8)}, {"step": 3})

    def use(self, rng):
        state = StateFile(self.target, SUBJECT).load()
        if state is not None:
            StateFile(self.target, SUBJECT).save(state.tensors, state.note)


class Pair(Json):
    """A pair of copies that was measured before."""

    file = "k_00000003.a.b.json"

    def prepare(self):
        self.twin = Twin(3, ("a", "b"), (pathlib.Path("a"), pathlib.Path("b")))
        FinishedPairs(self.folder).add(self.twin, SUBJECT, stability_of().connections[0])

    def use(self, rng):
        known = FinishedPairs(self.folder).known(self.twin, SUBJECT)
        if known is not None:
            Stability([known], {}, {"builder": "linear"}, 1.0).as_json()


class Archive(Reader):
    """A zip whose members are spoiled before they are packed, or which is spoiled whole."""

    def spoiled(self, rng):
        if rng.random() < 0.3:
            return super().spoiled(rng)
        with zipfile.ZipFile(io.BytesIO(self.valid)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        chosen = rng.choice(list(members))
        members[chosen] = self.member(rng, members[chosen])
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return packed.getvalue()

    def member(self, rng, content):
        return bytes_mutated(rng, content)


class Arrays(Archive):
    file = "data.npz"

    def prepare(self):
        x = np.arange(60, dtype=np.float32).reshape(6, 10)
        np.savez(self.target, x_train=x, y_train=np.arange(6) % 3, x_test=x.astype(np.uint8), y_test=np.arange(6) % 3)

    def member(self, rng, content):
        if rng.random() < 0.5:
            return content[:10] + bytes_mutated(rng, content[10:128]) + content[128:]
        return bytes_mutated(rng, content)

    def use(self, rng):
        train, _ = load_data(str(self.target), Placement(torch.device("cpu"), torch.float32, 1 << 28))
        next(iter(train.head(2).batches(2)))


class Text(Reader):
    """A text, or the tokenizer it is read with."""

    file = "run/tokenizer.json"

    def __init__(self, folder):
        self.corpus = folder / "corpus.txt"
        super().__init__(folder)

    def prepare(self):
        save_tokenizer(self.target.parent)
        self.corpus.write_text(TEXT)

    def once(self, rng):
        if rng.random() < 0.3:
            self.target.write_bytes(self.valid)
            self.corpus.write_bytes(bytes_mutated(rng, TEXT.encode()))
        else:
            self.corpus.write_text(TEXT)
            spoiled = json_mutated(rng, json.loads(self.valid)).encode("utf-8", "surrogatepass")
            self.target.write_bytes(spoiled if rng.random() < 0.7 else bytes_mutated(rng, self.valid))
        self.use(rng)

    def use(self, rng):
        tokenizer = tokenizer_of(self.target.parent)
        if tokenizer is None:
            raise InputError("no tokenizer")
        adapter = type("Reading", (TimmAdapter,), {"tokenizer": lambda self, folder: tokenizer})
        kept = registry().adapters["timm"]
        registry().adapters["timm"] = dataclasses.replace(kept, cls=adapter)
        try:
            train, _ = load_data(
                f"{self.corpus}?block=4&mask=0.5",
                Placement(torch.device("cpu"), torch.float32, 1 << 28),
                tokenizers=[self.target.parent],
            )
        finally:
            registry().adapters["timm"] = kept
        next(iter(train.head(2).batches(2)))


class Datasets(Reader):
    """A folder of the library datasets, of which one file is spoiled."""

    file = "data/train/data-00000-of-00001.arrow"
    spoilt = ("data/dataset_dict.json", "data/train/state.json", "data/train/dataset_info.json")

    def prepare(self):
        import datasets

        image = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
        columns = {"input_ids": [[1, 2], [3]], "x": [[0.5, 1.0]] * 2, "image": [image] * 2, "label": [0, 1]}
        features = datasets.Features(
            input_ids=datasets.Sequence(datasets.Value("int32")),
            x=datasets.Sequence(datasets.Value("float32")),
            image=datasets.Image(),
            label=datasets.Value("int64"),
        )
        datasets.disable_progress_bars()
        data = datasets.Dataset.from_dict(columns, features=features)
        datasets.DatasetDict(train=data).save_to_disk(self.folder / "data")
        self.described = {name: (self.folder / name).read_bytes() for name in self.spoilt}

    def once(self, rng):
        for name, content in self.described.items():
            (self.folder / name).write_bytes(content)
        if rng.random() < 0.7:
            self.target.write_bytes(bytes_mutated(rng, self.valid))
        else:
            self.target.write_bytes(self.valid)
            name = rng.choice(self.spoilt)
            text = json_mutated(rng, json.loads(self.described[name]))
            (self.folder / name).write_bytes(text.encode("utf-8", "surrogatepass"))
        self.use(rng)

    def use(self, rng):
        train, _ = load_data(str(self.folder / "data"), Placement(torch.device("cpu"), torch.float32, 1 << 28))
        next(iter(train.head(2).batches(2)))


class Pickle(Archive):
    file = "model.pt"

    def prepare(self):
        model = mlp(4, 3)
        torch.save({"model": model.state_dict(), "epoch": 3, "args": {"lr": 0.1}}, self.target)

    def spoiled(self, rng):
        if rng.random() < 0.1:
            return bytes_mutated(rng, pickle.dumps({"model": {"w": 1.0}}, rng.choice((2, 4))))
        return super().spoiled(rng)

    def use(self, rng):
        result = self.folder / "model.safetensors"
        convert(self.target, result)
        read(result)


class Picture(Reader):
    file = "train/a/0.png"
    megabytes = 1500  # an image may have 89 million pixels, in colour, in a copy for each step of its decoding

    def prepare(self):
        pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
        self.others = {}
        for name in ("a", "b"):
            (self.folder / "train" / name).mkdir(parents=True)
            Image.fromarray(pixels).save(self.folder / "train" / name / "0.png")
        for kind in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM"):
            stream = io.BytesIO()
            Image.fromarray(pixels).save(stream, kind)
            self.others[kind] = stream.getvalue()

    def spoiled(self, rng):
        return bytes_mutated(rng, rng.choice(list(self.others.values())))

    def use(self, rng):
        place = Placement(torch.device("cpu"), torch.float32, 1 << 28)
        load_data(str(self.folder), place, image_size=rng.choice((None, 4)))


@dataclasses.dataclass(frozen=True)
class Options:
    share: float = option(0.5, "A share.", gt=0, le=1)
    count: int | None = option(None, "A count.", ge=1)
    fast: bool = option(False, "Whether to hurry.")
    kind: str = option("a", "A kind.", choices=("a", "bb"))


class Typed(Reader):
    """What a person types: a model, a loss, the options of a method."""

    def prepare(self):
        code = (
            "from torch import nn\ndef make(**given):\n    return nn.Linear(2, 2)\ndef loss(a, b):\n    return a - b\n"
        )
        (self.folder / "net.py").write_text(code)

    def once(self, rng):
        spec = f"{self.folder}/net.py:make?width=16&depth=3&names=['a', 'b']&rates={{'x': 0.5}}&act=relu"
        part = spec[len(str(self.folder)) :]
        kind = rng.random()
        if kind < 0.6:
            model_factory(str(self.folder) + text_mutated(rng, part))()
        elif kind < 0.7:
            resolve_loss(text_mutated(rng, f"{self.folder}/net.py:loss"))
        else:
            name, text = rng.choice((("share", "0.5"), ("count", "12"), ("fast", "yes"), ("kind", "bb")))
            make_options(Options, {name: text_mutated(rng, text)}, "method")

    def unspoiled(self, rng):
        model_factory(f"{self.folder}/net.py:make?width=16")()


READERS = {
    "checkpoint": Checkpoint,
    "shard index": Index,
    "path": PathFile,
    "config.json": Configuration,
    **({"config.json of Transformers": LibraryConfiguration} if find_spec("transformers") else {}),
    "report.json": PlainReport,
    "evaluation.csv": Measurements,
    "stability.json": StabilityReport,
    "history.jsonl": History,
    "watch.json": States,
    "journal": Evaluated,
    "unfinished state": Unfinished,
    "measured pair": Pair,
    "npz": Arrays,
    "text": Text,
    "datasets": Datasets,
    "pickle": Pickle,
    "image": Picture,
    "typed": Typed,
}


def page_of(saved, folder):
    """Render the page as the product does, with the picture that was drawn before."""
    from connectivity_hooks.untrusted import guarded

    with guarded(folder, "a finished report"):
        render_html(saved, "<svg></svg>")


def measurements(t):
    """Return the measurements of one t on two splits."""
    from connectivity_hooks.evaluation.measurement import Measurement

    return [
        Measurement(
            t, split, 0.5 + t, 0.1, 0.25, 0.01, *(0.1, 0.1), *(0.1, 0.1, 0.0, 0.1), *(0.1, 0.1, 0.0, 0.1), "forward"
        )
        for split in ("train", "test")
    ]


def stability_of():
    """Return an analysis of one pair at two k."""
    curves = {
        split: tuple(measurements(t)[side] for t in (0.0, 0.5, 1.0)) for side, split in enumerate(("train", "test"))
    }
    figures = {split: barriers(curve, np.array([0.0, 1.0, 2.0])) for split, curve in curves.items()}
    connections = [Connection(step, "a", "b", curves, figures, 2.0) for step in (3, 30)]
    return Stability(connections, {"model": "net.py:make"}, {"builder": "linear", "options": {}}, 1.0)
