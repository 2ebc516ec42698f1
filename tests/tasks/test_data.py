import os
import re
import zipfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file

import connectivity_hooks as ch
from connectivity_hooks import memory
from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.tasks.data.loading import Placement, load_data
from connectivity_hooks.tasks.split import CachedSplit, draw
from connectivity_hooks.tasks.streamed import StreamedSplit

HERE = Placement(torch.device("cpu"), torch.float32, 1 << 30)


def arrays(shape=(8, 5, 6), dtype=np.uint8):
    x = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    return {"x_train": x, "y_train": np.arange(8) % 3, "x_test": x[:4], "y_test": np.arange(4) % 3}


def npz(tmp_path, **changes):
    np.savez(tmp_path / "d.npz", **{**arrays(), **changes})
    return str(tmp_path / "d.npz")


def test_digits_are_images_with_every_class_in_both_splits():
    train, test = load_data("digits", HERE)
    assert train.inputs.shape[1:] == (1, 8, 8)
    assert (len(train) + len(test), train.inputs.max()) == (1797, 1)
    assert set(train.targets().tolist()) == set(test.targets().tolist()) == set(range(10))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((8, 5, 6), (1, 5, 6)),
        ((8, 5, 6, 3), (3, 5, 6)),
        ((8, 3, 5, 6), (3, 5, 6)),
        ((8, 1, 6, 3), (1, 6, 3)),
        ((8, 7), (7,)),
    ],
)
def test_axes_become_channels_first(tmp_path, shape, expected):
    np.savez(tmp_path / "d.npz", **arrays(shape))
    assert load_data(str(tmp_path / "d.npz"), HERE)[0].inputs.shape[1:] == expected


def test_uint8_is_scaled_then_normalised_by_channel(tmp_path):
    x = np.random.default_rng(0).integers(0, 255, (8, 5, 5, 3), dtype=np.uint8)
    train, _ = load_data(npz(tmp_path, x_train=x, x_test=x[:4]), HERE, normalize="0.1,0.2,0.3,1,2,4")
    expected = (x / 255 - [0.1, 0.2, 0.3]) / [1, 2, 4]
    np.testing.assert_allclose(train.inputs.numpy(), expected.transpose(0, 3, 1, 2), rtol=1e-5, atol=1e-6)


def images(tmp_path, loss, *, targets=None, normalize="0.1,0.2,0.3,1,2,4"):
    x = np.random.default_rng(0).integers(0, 255, (8, 5, 5, 3), dtype=np.uint8)
    y = x if targets is None else targets(x)
    file = npz(tmp_path, x_train=x, y_train=y, x_test=x[:4], y_test=y[:4])
    return x, load_data(file, HERE, normalize=normalize, loss=loss)[0]


@pytest.mark.parametrize("loss", ["mse", "l1", "huber", None, "mine.py:loss"])
def test_targets_of_an_autoencoder_are_treated_as_its_inputs(tmp_path, loss):
    x, train = images(tmp_path, loss)
    expected = ((x / 255 - [0.1, 0.2, 0.3]) / [1, 2, 4]).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(train.targets().numpy(), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(train.targets(), train.inputs)


def test_other_images_of_the_inputs_shape_are_treated_as_the_inputs(tmp_path):
    x, train = images(tmp_path, "mse", targets=lambda x: x[::-1].copy())
    assert torch.equal(train.targets(), train.inputs.flip(0))
    _, own = images(tmp_path, "mine.py:loss", targets=lambda x: x[::-1].copy())
    assert torch.equal(own.targets(), torch.from_numpy(x[::-1].copy()).long())


def test_images_as_targets_of_bce_lie_between_0_and_1(tmp_path):
    x, train = images(tmp_path, "bce")
    np.testing.assert_allclose(train.targets().numpy(), (x / 255).transpose(0, 3, 1, 2), rtol=1e-6)


@pytest.mark.parametrize(
    ("loss", "targets"),
    [
        ("cross-entropy", lambda x: x[..., 0]),
        ("mse", lambda x: x[..., 0]),
        ("bce", lambda x: x % 2),
        ("cross-entropy", lambda x: x % 5),
        ("mse", lambda x: x[:, 0, 0, 0]),
    ],
)
def test_labels_and_masks_are_never_scaled(tmp_path, loss, targets):
    x, train = images(tmp_path, loss, targets=targets)
    assert torch.equal(train.targets(), torch.from_numpy(targets(x).copy()).long())


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_gray_autoencoders_and_flat_ones_are_treated_alike(tmp_path, dtype):
    for shape in ((8, 5, 6), (8, 30)):
        x = np.random.default_rng(0).integers(0, 255, shape).astype(dtype)
        file = npz(tmp_path, x_train=x, y_train=x, x_test=x[:4], y_test=x[:4])
        train, _ = load_data(file, HERE, normalize="3,2", loss="mse")
        assert torch.equal(train.targets(), train.inputs)
        wanted = (x / (255 if dtype == np.uint8 else 1) - 3) / 2
        np.testing.assert_allclose(train.inputs.flatten().numpy(), wanted.flatten(), rtol=1e-5, atol=1e-6)


def test_a_streamed_autoencoder_is_treated_as_one_in_memory(tmp_path):
    (tmp_path / "loaders.py").write_text(
        "import torch\n"
        "X = torch.arange(96).view(4, 3, 4, 2).to(torch.uint8)\n"
        "def pairs(): return [(X[:2], X[:2]), (X[2:], X[2:])]\n"
    )
    small = Placement(torch.device("cpu"), torch.float32, 10)
    for placement in (HERE, small):
        train, _ = load_data(f"{tmp_path}/loaders.py:pairs", placement, normalize="0.5,2", loss="mse")
        inputs, targets = next(iter(train.batches(2)))
        assert torch.equal(inputs, targets)
        assert float(targets.max()) <= (96 / 255 - 0.5) / 2


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, bool, np.float32])
@pytest.mark.parametrize("shape", [(8,), (8, 1), (8, 1, 1)])
def test_what_the_shape_of_targets_means_is_left_to_the_loss(tmp_path, dtype, shape):
    y = (np.arange(8) % 2).astype(dtype).reshape(shape)
    targets = load_data(npz(tmp_path, y_train=y), HERE)[0].targets()
    assert targets.dtype == (torch.float32 if dtype == np.float32 else torch.int64)
    assert torch.equal(targets, torch.from_numpy(y).to(targets.dtype))


def test_safetensors_and_npz_agree(tmp_path):
    save_file(arrays(), tmp_path / "d.safetensors")
    pairs = zip(load_data(npz(tmp_path), HERE), load_data(str(tmp_path / "d.safetensors"), HERE), strict=True)
    for a, b in pairs:
        assert torch.equal(a.inputs, b.inputs)
        assert torch.equal(a.targets(), b.targets())


@pytest.mark.parametrize("name", ["text", "pickled", "zip"])
def test_what_is_no_npz_is_refused_and_not_unpickled(tmp_path, name):
    file = tmp_path / "d.npz"
    if name == "pickled":
        np.savez(file, x_train=np.array([{"a": 1}], dtype=object), y_train=np.zeros(1))
    else:
        file.write_bytes(b"hello" if name == "text" else b"PK\x03\x04broken")
    with pytest.raises(InputError, match=r"d\.npz: is not an \.npz file of plain arrays"):
        load_data(str(file), HERE)


def test_normalisation_that_overflows_is_refused(tmp_path):
    with pytest.raises(InputError, match="not finite"):
        load_data(npz(tmp_path), HERE, normalize="0,1e-40")


@pytest.mark.parametrize(
    "normalize", ["1", "a,b", "0,0", "0,1,2", "", "nan,1", "0,nan", "1e400,1", "0,inf", "0,1e-60", "1,-1", ","]
)
def test_senseless_normalisation_is_refused(tmp_path, normalize):
    with pytest.raises(UsageError, match="--normalize"):
        load_data(npz(tmp_path), HERE, normalize=normalize)


def test_normalisation_for_other_channels_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"3 channels, inputs have shape \(1, 5, 6\)"):
        load_data(npz(tmp_path), HERE, normalize="0,0,0,1,1,1")


def image_folder(tmp_path, sizes=((6, 6),), mode="RGB"):
    generator = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (tmp_path / split / name).mkdir(parents=True)
            for index in range(3):
                height, width = sizes[index % len(sizes)]
                pixels = generator.integers(0, 255, (height, width, 3), dtype=np.uint8)
                Image.fromarray(pixels).convert(mode).save(tmp_path / split / name / f"{index}.png")
    (tmp_path / "train" / "cat" / "notes.txt").write_text("not an image")
    return tmp_path


def test_a_folder_of_images_has_its_classes_in_order_of_name(tmp_path):
    train, test = load_data(str(image_folder(tmp_path)), HERE)
    assert train.targets().tolist() == test.targets().tolist() == [0, 0, 0, 1, 1, 1]
    pixels = np.asarray(Image.open(tmp_path / "train" / "dog" / "1.png")).transpose(2, 0, 1) / 255
    np.testing.assert_allclose(train.inputs[4].numpy(), pixels, atol=1e-6)


def test_gray_images_have_one_channel(tmp_path):
    assert load_data(str(image_folder(tmp_path, mode="L")), HERE)[0].inputs.shape == (6, 1, 6, 6)


def test_images_of_several_sizes_need_a_size(tmp_path):
    folder = str(image_folder(tmp_path, sizes=((6, 8), (9, 5))))
    with pytest.raises(InputError, match=r"differ in size.*--image-size"):
        load_data(folder, HERE)
    assert load_data(folder, HERE, image_size=4)[0].inputs.shape == (6, 3, 4, 4)


def test_a_broken_image_is_named(tmp_path):
    folder = image_folder(tmp_path)
    (folder / "train" / "dog" / "9.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(InputError, match=r"9\.png: is not an image: its format is unknown"):
        load_data(str(folder), HERE)


def test_splits_with_other_classes_are_refused(tmp_path):
    folder = image_folder(tmp_path)
    (folder / "val" / "horse").mkdir()
    with pytest.raises(InputError, match=r"different class folders; only on one side are val/horse$"):
        load_data(str(folder), HERE)


LOADERS = """
import torch
from torch.utils.data import DataLoader, TensorDataset

X, Y = torch.arange(40.0).view(20, 2), torch.arange(20) % 4
DATA = TensorDataset(X, Y)

def pair(): return DataLoader(DATA, 6, shuffle=True), DataLoader(DATA, 6)
def table(): return {"train": DATA, "test": [(X, Y)]}
def single(): return [(X, Y)]
def generator(): return (batch for batch in [(X, Y)])
def triples(): return [(X, Y, Y)]
def fails(): return 1 / 0
def ends(): raise SystemExit(3)
def lengths(): return [(X[:5], Y[:5]), (X[:6, :1], Y[:6])]
def padded(): return [({"ids": X[:5]}, X[:5]), ({"ids": X[:6, :1]}, X[:6, :1])]
def entries(): return [({"ids": X[:5]}, Y[:5]), ({"id": X[:5]}, Y[:5])]
def tensors(): return X, Y
def alone(): return [X, X]
def one(): return [(X,)]
def several(): return [{"a": x, "b": (x, True), "labels": y} for x, y in ((X[:5], Y[:5]), (X[5:], Y[5:]))]
def scalars(): return [(torch.tensor(1.0), torch.tensor(1))]

class Failing:
    def __iter__(self):
        yield X, Y
        raise KeyError("two\\nlines")

def failing(): return Failing()

class Shuffling:
    def __iter__(self):
        order = torch.randperm(20)
        yield X[order], Y[order]

def shuffling(): return Shuffling()
"""


@pytest.fixture
def loaders(tmp_path):
    (tmp_path / "loaders.py").write_text(LOADERS)
    return lambda name: f"{tmp_path}/loaders.py:{name}"


@pytest.mark.parametrize(("name", "has_test"), [("pair", True), ("table", True), ("single", False)])
def test_loaders_are_gone_through_once_in_order(loaders, name, has_test):
    train, test = load_data(loaders(name), HERE)
    assert torch.equal(train.inputs, torch.arange(40.0).view(20, 2))
    assert (test is not None) == has_test


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("generator", "iterated again"),
        ("triples", "not a pair"),
        ("fails", "ZeroDivisionError"),
        ("ends", "SystemExit"),
        ("padded", r"targets of its batches have the shapes \(1,\), \(2,\); expected one"),
        ("entries", "batches have unequal entries, ids and id; expected the same"),
        ("tensors", "gives a Tensor as a loader; one batch is .*inputs, targets"),
        ("scalars", "a batch has a single number as targets"),
        ("failing", "fails while it gives its batches: KeyError"),
    ],
)
def test_what_gives_no_batches_is_refused_in_one_line(loaders, name, words):
    with pytest.raises(InputError, match=words) as error:
        load_data(loaders(name), HERE)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["alone", "one"])
@pytest.mark.parametrize("limit", [1 << 30, 10])
def test_inputs_without_targets_are_their_own(loaders, name, limit):
    train, _ = load_data(loaders(name), Placement(torch.device("cpu"), torch.float32, limit))
    for inputs, targets in train.batches(64):
        assert torch.equal(inputs, targets)
    assert torch.equal(train.targets()[:20], torch.arange(40.0).view(20, 2))


@pytest.mark.parametrize("limit", [1 << 30, 10])
def test_several_inputs_are_held_and_streamed_alike(loaders, limit):
    train, _ = load_data(loaders("several"), Placement(torch.device("cpu"), torch.float64, limit))
    wanted = torch.arange(40.0, dtype=torch.float64).view(20, 2)
    assert isinstance(train, StreamedSplit) == (limit == 10)
    for split, rows in (
        (train, torch.arange(20)),
        (train.head(7), torch.arange(7)),
        (train.sample(6, 1), draw(20, 6, 1)),
    ):
        batches = list(split.batches(4))
        assert all(inputs["b"][1] is True and inputs.keys() == {"a", "b"} for inputs, _ in batches)
        for parts in ([x["a"] for x, _ in batches], [x["b"][0] for x, _ in batches]):
            assert torch.equal(torch.cat(parts), wanted[rows])
        assert torch.equal(torch.cat([y for _, y in batches]), rows % 4)


@pytest.mark.parametrize("limit", [1 << 30, 10])
def test_batches_padded_each_to_its_own_length_stay_batches(loaders, limit):
    train, _ = load_data(loaders("lengths"), Placement(torch.device("cpu"), torch.float32, limit))
    assert [tuple(inputs.shape) for inputs, _ in train.batches(64)] == [(5, 2), (6, 1)]
    assert [tuple(inputs.shape) for inputs, _ in train.sample(10, 0).batches(3)][-1][1] == 1
    assert len(train) == len(train.targets()) == 11


def test_a_loader_that_does_not_fit_is_streamed_in_one_order(loaders):
    small = Placement(torch.device("cpu"), torch.float64, 10)
    train, _ = load_data(loaders("pair"), small)
    assert isinstance(train, StreamedSplit)
    for _ in range(2):
        inputs, targets = (torch.cat(part) for part in zip(*train.batches(4), strict=True))
        assert torch.equal(inputs, torch.arange(40.0).view(20, 2).double())
        assert torch.equal(targets, train.targets())
    assert torch.equal(train.head(7).inputs, inputs[:7])
    chosen = train.sample(5, seed=3)
    assert torch.equal(chosen.inputs, CachedSplit("train", inputs, targets).sample(5, seed=3).inputs)


def test_a_streamed_loader_that_shuffles_is_refused(loaders):
    train, _ = load_data(loaders("shuffling"), Placement(torch.device("cpu"), torch.float32, 10))
    with pytest.raises(InputError, match="shuffle=False"):
        list(train.batches(4))


def header(**fields):
    """Return an ``.npy`` file of 12 bytes of data whose header says something else."""
    described = {"descr": "<f4", "fortran_order": False, "shape": (3,), **fields}
    text = (repr(described).ljust(117) + "\n").encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(12)


def packed(file, member, **how):
    with zipfile.ZipFile(file, "w", **how) as archive:
        archive.writestr("x_train.npy", member)
        archive.writestr("y_train.npy", header())
    return str(file)


SPOILED = {
    "no array": b"hello",
    "nothing": b"",
    "a huge shape": header(shape=(10**400,)),
    "a huge shape of many axes": header(shape=(10**9, 10**9, 10**9)),
    "a negative shape": header(shape=(-3,)),
    "two negative axes": header(shape=(-1, -3)),
    "a shape of texts": header(shape=("a",)),
    "a type of none": header(descr="<q9"),
    "objects": header(descr="|O"),
    "texts": header(descr="<U3"),
    "sixteen bytes a number": header(descr="<f16"),
    "cut off": header()[:60],
    "more than declared": header() + b"more",
    "a header that is no literal": header().replace(b"'descr'", b"'desc(("),
    "an open bracket": header().replace(b"(3,)", b"(3,["),
    "another version": b"\x93NUMPY\x07\x00" + header()[8:],
}


@pytest.mark.parametrize("member", SPOILED.values(), ids=SPOILED.keys())
def test_a_spoiled_member_of_an_npz_is_refused_in_one_line(tmp_path, member):
    with pytest.raises(InputError, match=r"d\.npz: (is not an \.npz file of plain arrays: .+|needs .+)") as error:
        load_data(packed(tmp_path / "d.npz", member), HERE)
    assert "\n" not in str(error.value)


def test_a_member_with_broken_compression_or_of_an_unknown_one_is_refused(tmp_path):
    file = tmp_path / "d.npz"
    packed(file, header() * 50, compression=zipfile.ZIP_DEFLATED)
    raw = file.read_bytes()
    start = raw.index(b"x_train.npy") + len("x_train.npy")
    directory = raw.index(b"PK\x01\x02")
    for spoiled in (
        raw[: start + 3] + b"\xff" * 9 + raw[start + 12 :],
        raw[: directory + 10] + b"\x63" + raw[directory + 11 :],
        raw[: directory + 8] + b"\x01" + raw[directory + 9 :],
    ):
        file.write_bytes(spoiled)
        with pytest.raises(InputError, match=r"is not an \.npz file of plain arrays"):
            load_data(str(file), HERE)


def test_arrays_larger_than_memory_are_refused_before_they_are_read(tmp_path, monkeypatch):
    file = npz(tmp_path)
    monkeypatch.setattr(memory, "available_memory", lambda: 1000)
    monkeypatch.setattr(np.lib.format, "read_array", None)
    with pytest.raises(InputError, match=r"d\.npz: needs 1\..* kB of memory, 1 kB are free"):
        load_data(file, HERE)


def test_an_array_that_is_a_single_number_is_refused(tmp_path):
    with pytest.raises(InputError, match="y_train is a single number"):
        load_data(npz(tmp_path, y_train=np.array(3)), HERE)


def test_targets_that_are_no_numbers_are_refused(tmp_path):
    with pytest.raises(InputError, match="train: targets hold NaN or Inf"):
        load_data(npz(tmp_path, y_train=np.array([0.5] * 7 + [np.nan])), HERE)


def test_images_larger_than_memory_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    folder = str(image_folder(tmp_path))
    monkeypatch.setattr(memory, "available_memory", lambda: 1000)
    with pytest.raises(InputError, match=r"its 6 images of 6×6: needs .* of memory"):
        load_data(folder, HERE)
    with pytest.raises(InputError, match="its 6 images of 1000000×1000000"):
        load_data(folder, HERE, image_size=10**6)


def test_a_small_file_that_says_it_is_a_huge_image_is_refused_undecoded(tmp_path):
    folder = image_folder(tmp_path)
    file = folder / "train" / "cat" / "0.png"
    raw = file.read_bytes()
    described = raw[12:16] + (12_000).to_bytes(4, "big") * 2 + raw[24:29]  # the type, width and height of a PNG
    file.write_bytes(raw[:12] + described + zlib.crc32(described).to_bytes(4, "big") + raw[33:])
    for size in (None, 4):
        with pytest.raises(InputError, match=r"0\.png: is not an image: it has 144000000 pixels"):
            load_data(str(folder), HERE, image_size=size)


def test_a_pipe_among_the_images_is_refused_and_not_waited_for(tmp_path):
    folder = image_folder(tmp_path)
    os.mkfifo(folder / "train" / "cat" / "9.png")
    with pytest.raises(InputError, match=r"9\.png: is not a regular file"):
        load_data(str(folder), HERE)


@pytest.mark.parametrize("spec", ["x" * 5000, "x" * 5000 + ".npz", "nul\0.npz", "\ud800.npz", "/" * 5000, "a:b:c\0"])
def test_a_name_that_no_data_can_have_is_refused(spec):
    with pytest.raises((InputError, UsageError)):
        load_data(spec, HERE)


def test_a_streamed_loader_that_augments_at_random_is_refused_at_the_next_pass():
    generator = torch.Generator().manual_seed(0)

    class Noisy:
        def __iter__(self):
            for _ in range(3):
                yield torch.rand(4, 2, generator=generator), torch.arange(4)

    split = StreamedSplit("train", Noisy(), torch.device("cpu"), torch.float32)
    with pytest.raises(InputError, match="other inputs at every pass"):
        list(split.batches(4))


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x_train": 40, "y_train": 30}, r"has 40 inputs and 30 targets \(x_train: 40, y_train: 30\)"),
        (
            {"x_train.a": 40, "x_train.b": 10, "y_train": 40},
            r"unequal numbers of rows \(x_train.a: 40, x_train.b: 10, y_train: 40\)",
        ),
        ({"x_train": 0, "y_train": 0}, "x_train and y_train have no rows"),
        ({"x_train": 4, "y_train": 4, "x_test": 0, "y_test": 0}, "x_test and y_test have no rows"),
        ({"x_train.": 4, "y_train": 4}, "'x_train.' names no argument; expected x_train alone, x_train.NAME"),
        ({"x_train": 4, "x_train.": 4, "y_train": 4}, "'x_train.' names no argument"),
    ],
)
def test_rows_and_names_of_a_file_are_refused_by_its_name(tmp_path, arrays, words):
    file = tmp_path / "odd.npz"
    np.savez(file, **{name: np.zeros((rows, 3), np.float32) for name, rows in arrays.items()})
    with pytest.raises(InputError, match=f"^{re.escape(str(file))}: .*{words}"):
        ch.make_task(model=lambda: torch.nn.Linear(3, 3), data=file, loss="mse")
