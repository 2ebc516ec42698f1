"""The state of work that takes long: whole or not there, of one subject, and cheap."""

import errno
import itertools

import pytest
import torch

from connectivity_hooks.connecting import state_file
from connectivity_hooks.connecting.state_file import StateFile
from connectivity_hooks.contracts.work import UNKEPT
from connectivity_hooks.errors import InputError

SUBJECT = {"ends": ["0", "1"], "builder": ["bend", {"steps": 3}]}


class Told:
    def __init__(self):
        self.lines = []

    def say(self, message):
        self.lines.append(message)


@pytest.fixture
def file(tmp_path):
    return tmp_path / ".a.unfinished.builder.safetensors"


def tensors():
    return {
        "z": torch.randn(3, 2).T,  # not contiguous
        "a": torch.tensor(7),
        "point/w": torch.randn(4, dtype=torch.float64),
        "half": torch.randn(2).bfloat16(),
        "generator": torch.Generator().manual_seed(3).get_state(),
        "mask": torch.tensor([True, False]),
    }


def test_a_state_comes_back_bit_for_bit_in_its_order(file):
    given = tensors()
    StateFile(file, SUBJECT).save(given, {"step": 12, "losses": [0.5, None]})
    state = StateFile(file, SUBJECT).load()
    assert list(state.tensors) == list(given)
    for name, tensor in given.items():
        assert state.tensors[name].dtype == tensor.dtype
        assert torch.equal(state.tensors[name], tensor)
    assert state.note == {"step": 12, "losses": [0.5, None]}


def test_there_is_nothing_to_go_on_from_at_first(file):
    state = StateFile(file, SUBJECT)
    assert state.load() is None
    state.save({"w": torch.ones(1)})
    assert state.load().note == {}
    UNKEPT.save({"w": torch.ones(1)})
    assert (UNKEPT.load(), UNKEPT.due()) == (None, False)


def test_the_state_of_another_work_is_none_and_not_spoken_of(file):
    told = Told()
    StateFile(file, SUBJECT).save({"w": torch.ones(1)})
    assert StateFile(file, {**SUBJECT, "ends": ["0", "2"]}, told).load() is None
    assert told.lines == []


@pytest.mark.parametrize(
    "harm",
    [lambda raw: raw[:-1], lambda raw: b"", lambda raw: b"\0" * len(raw), lambda raw: raw.replace(b"note", b"nose")],
)
def test_a_damaged_state_is_said_and_the_work_begins_anew(file, harm):
    StateFile(file, SUBJECT).save({"w": torch.ones(1)})
    file.write_bytes(harm(file.read_bytes()))
    told = Told()
    assert StateFile(file, SUBJECT, told).load() is None
    assert len(told.lines) == 1
    assert told.lines[0].endswith("the work begins anew")


def test_a_save_that_is_cut_short_leaves_the_state_before(file, monkeypatch):
    state = StateFile(file, SUBJECT)
    state.save({"w": torch.ones(1)}, {"step": 1})

    def cut(tensors):
        raise KeyboardInterrupt

    monkeypatch.setattr("connectivity_hooks.checkpoints.atomic.os.fsync", cut)
    with pytest.raises(KeyboardInterrupt):
        state.save({"w": torch.zeros(1)}, {"step": 2})
    monkeypatch.undo()
    assert state.load().note == {"step": 1}
    assert [one.name for one in file.parent.iterdir()] == [file.name]


def test_a_full_disk_ends_no_work(file, monkeypatch):
    def full(*given):
        raise OSError(errno.ENOSPC, "No space left on device")

    told = Told()
    monkeypatch.setattr(state_file, "write_tensors", full)
    StateFile(file, SUBJECT, told).save({"w": torch.ones(1)})
    assert len(told.lines) == 1
    assert "the work goes on" in told.lines[0]


def test_the_state_of_another_version_is_none(file, monkeypatch):
    StateFile(file, SUBJECT).save({"w": torch.ones(1)})
    monkeypatch.setattr(state_file, "__version__", "99")
    assert StateFile(file, SUBJECT).load() is None


@pytest.mark.parametrize("note", [{"step": torch.ones(1)}, {"loss": float("nan")}])
def test_a_note_that_no_json_can_hold_is_refused(file, note):
    with pytest.raises(InputError, match="a note is of JSON-ready values"):
        StateFile(file, SUBJECT).save({"w": torch.ones(1)}, note)


def test_saving_takes_at_most_a_hundredth_of_the_time(file, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(state_file.time, "monotonic", lambda: now[0])
    write = state_file.write_tensors

    def slowly(*given):
        now[0] += 0.3
        write(*given)

    monkeypatch.setattr(state_file, "write_tensors", slowly)
    state, saves = StateFile(file, SUBJECT), []
    while now[0] < 1000:
        if state.due():
            saves.append(now[0])
            state.save({"w": torch.ones(1)})
        now[0] += 0.05
    assert 10 <= saves[0] < 10.1
    assert 30 <= len(saves) <= 1000 * 0.01 / 0.3
    assert max(b - a for a, b in itertools.pairwise(saves[1:])) < 31


def test_of_several_processes_only_the_first_writes_and_all_read(file, monkeypatch):
    StateFile(file, SUBJECT).save({"w": torch.ones(1)}, {"step": 1})
    monkeypatch.setattr(state_file, "is_main_process", lambda: False)
    monkeypatch.setattr(state_file, "_SHARE", 1e9)
    other = StateFile(file, SUBJECT)
    assert not other.due()
    other.save({"w": torch.zeros(1)}, {"step": 2})
    assert other.load().note == {"step": 1}


class Sharded(torch.Tensor):
    """Stands for a DTensor: the whole is somewhere else."""

    @staticmethod
    def of(whole):
        part = whole[:1].as_subclass(Sharded)
        part.whole = whole
        return part

    def detach(self):
        return self

    def full_tensor(self):
        return self.whole


def test_a_tensor_spread_over_processes_is_saved_whole(file):
    state = StateFile(file, SUBJECT)
    state.save({"w": Sharded.of(torch.arange(6.0))})
    assert torch.equal(state.load().tensors["w"], torch.arange(6.0))
