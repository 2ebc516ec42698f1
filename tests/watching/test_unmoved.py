"""Reading the probe does not move what the training reads next, whatever has a state: samplers, generators, streams."""

import random
import warnings

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, RandomSampler, Sampler, TensorDataset
from watched_training import Mean, data, network

import connectivity_hooks as ch
from connectivity_hooks.watching.probe import read_probe
from connectivity_hooks.watching.unmoved import unmoved

X, Y = data()
PLAIN = TensorDataset(X, Y)
SHARED_RNG = np.random.default_rng(0)


def generator(seed=3):
    return torch.Generator().manual_seed(seed)


class Noisy(Dataset):
    """Augments by a generator of its own, and counts."""

    def __init__(self, draw):
        self.draw, self.calls = draw, 0

    def __len__(self):
        return len(X)

    def __getitem__(self, index):
        self.calls += 1
        return X[index] + self.draw() + self.calls, Y[index]


class TorchNoise:
    def __init__(self):
        self.generator = generator()

    def __call__(self):
        return float(torch.rand((), generator=self.generator))


class ClassNoise:
    """Draws from a generator of the class."""

    rng = random.Random(0)

    def __call__(self):
        return self.rng.random()


def by_closure():
    rng = random.Random(3)
    return lambda: rng.random()


def by_global():
    return SHARED_RNG.normal()


class Shuffled(Sampler):
    """Shuffles its own order in place, every time it is gone through."""

    def __init__(self):
        self.order, self.rng = list(range(len(X))), random.Random(1)

    def __iter__(self):
        self.rng.shuffle(self.order)
        return iter(self.order)

    def __len__(self):
        return len(X)


class Keyed(Shuffled):
    """Asks the data set by pairs, which only it knows to make."""

    def __iter__(self):
        return iter([(index, "key") for index in super().__iter__()])


class ByKey(Dataset):
    def __len__(self):
        return len(X)

    def __getitem__(self, key):
        index, word = key
        assert word == "key"
        return X[index], Y[index]


class Stream(IterableDataset):
    """Goes on where it stopped, shuffled by numpy."""

    def __init__(self):
        self.rng, self.epoch = np.random.default_rng(2), 0

    def __iter__(self):
        self.epoch += 1
        for index in self.rng.permutation(len(X)):
            yield X[index] + self.epoch, Y[index]


class Endless:
    """An iterable that remembers where it is."""

    def __init__(self):
        self.place = 0

    def __iter__(self):
        for _ in range(8):
            rows = slice(self.place % 120, self.place % 120 + 15)
            self.place += 15
            yield X[rows], Y[rows]


class Pairs(Dataset):
    """Gives whole batches, of another size each."""

    def __len__(self):
        return 12

    def __getitem__(self, index):
        return X[index * 10 : index * 10 + 5 + index % 3], Y[index * 10 : index * 10 + 5 + index % 3]


def collating_noise():
    noise = TorchNoise()

    def collate(samples):
        return torch.stack([x for x, _ in samples]) + noise(), torch.stack([y for _, y in samples])

    return collate


SOURCES = {
    "batch sampler": lambda: DataLoader(PLAIN, batch_sampler=BatchSampler(Shuffled(), 16, drop_last=False)),
    "sampler with a generator": lambda: DataLoader(PLAIN, 16, sampler=RandomSampler(PLAIN, generator=generator())),
    "sampler of its own": lambda: DataLoader(PLAIN, 16, sampler=Shuffled()),
    "sampler of batches": lambda: DataLoader(PLAIN, sampler=BatchSampler(Shuffled(), 16, False), batch_size=None),
    "keys": lambda: DataLoader(ByKey(), 16, sampler=Keyed()),
    "whole batches": lambda: DataLoader(Pairs(), batch_size=None, shuffle=True, generator=generator()),
    "loader with a generator": lambda: DataLoader(PLAIN, 16, shuffle=True, generator=generator()),
    "data set with a generator": lambda: DataLoader(Noisy(TorchNoise()), 16, shuffle=True),
    "data set with a closure": lambda: DataLoader(Noisy(by_closure()), 16),
    "collate function": lambda: DataLoader(PLAIN, 16, collate_fn=collating_noise()),
    "stream": lambda: DataLoader(Stream(), 16),
    "iterable": Endless,
    "zip": lambda: zip(X.split(16), Y.split(16), strict=True),
}


def epochs(source):
    """Return what two epochs give, under one global seed."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return [tensor for _ in range(2) for batch in source for tensor in batch]


@pytest.mark.parametrize("kind", SOURCES)
def test_the_training_reads_the_same_after_the_probe_was_read(kind):
    source, twin = SOURCES[kind](), SOURCES[kind]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        split = read_probe(source, 40, seed=0)
    assert len(split) == 40
    after, untouched = epochs(source), epochs(twin)
    assert len(after) == len(untouched) > 0
    assert all(torch.equal(first, second) for first, second in zip(after, untouched, strict=True))


@pytest.mark.parametrize("draw", [by_global, ClassNoise()], ids=["global", "class"])
def test_generators_that_a_copy_would_share_are_put_back(draw):
    expected = unwatched = None
    for probe in (None, Noisy(draw)):
        ClassNoise.rng.seed(0)
        SHARED_RNG.bit_generator.state = np.random.default_rng(0).bit_generator.state
        if probe is not None:
            read_probe(probe, 40, seed=0)
            expected = draw()
        else:
            unwatched = draw()
    assert expected == unwatched


def test_rows_and_targets_of_every_source_belong_together():
    for kind in ("batch sampler", "sampler of batches", "keys", "sampler with a generator"):
        split = read_probe(SOURCES[kind](), 40, seed=0)
        inputs, targets = next(split.batches(1000))
        index = [int((each == X).all(1).nonzero()) for each in inputs]
        assert torch.equal(targets, Y[index]), kind
        assert len(set(index)) == len(index), kind


def test_samples_that_a_loader_leaves_out_are_no_part_of_the_probe():
    chosen = list(range(0, 60, 2))
    loader = DataLoader(PLAIN, 16, sampler=torch.utils.data.SubsetRandomSampler(chosen))
    split = read_probe(loader, 100, seed=0)
    inputs = torch.cat([x for x, _ in split.batches(1000)])
    assert torch.equal(inputs, X[chosen])


class Open(Noisy):
    """Holds something that cannot be copied."""

    def __init__(self, draw):
        super().__init__(draw)
        self.stream = (line for line in "ab")


@pytest.mark.parametrize("source", [lambda: DataLoader(Open(TorchNoise()), 16), lambda: (pair for pair in [(X, Y)])])
def test_where_no_copy_can_be_made_it_is_said_once_and_generators_are_put_back_all_the_same(source):
    probe = source()
    with (
        pytest.warns(UserWarning, match="bit identity with an unwatched training cannot be promised") as said,
        ch.watch(network(), probe, conditions=[Mean()], every=1, strict=True) as watch,
    ):
        watch.step()
    assert len(said) == 1
    if isinstance(probe, DataLoader):
        assert probe.dataset.draw() == TorchNoise()()


def test_a_copy_shares_what_is_large_and_nothing_else():
    class Held(Dataset):
        def __init__(self):
            self.images = torch.zeros(5_000_000)
            self.files = [[number] for number in range(50_000)]
            self.order = np.arange(1000)
            self.seen = {"count": 0}

    held = Held()
    with unmoved(held) as found:
        copied = found.source
        assert found.fault == ""
        assert copied.images is held.images
        assert copied.files is not held.files
        assert copied.files[7] is held.files[7]
        copied.order[0] = 5
        copied.seen["count"] = 1
    assert held.order[0] == held.seen["count"] == 0


def test_a_loader_with_workers_that_stay_keeps_them():
    loader = DataLoader(PLAIN, 16, num_workers=1, persistent_workers=True)
    iter(loader)
    running = loader._iterator
    read_probe(loader, 20, seed=0)
    assert loader._iterator is running
    running._shutdown_workers()


def test_a_data_set_with_sparse_data_is_read_without_a_warning(recwarn):
    class Rows(Dataset):
        def __init__(self):
            self.table = torch.eye(20).to_sparse()
            self.generator = torch.Generator().manual_seed(0)

        def __len__(self):
            return 20

        def __getitem__(self, index):
            noise = torch.rand((), generator=self.generator)
            return self.table[index].to_dense() + noise, index % 2

    data = Rows()
    state = data.generator.get_state()
    assert len(read_probe(DataLoader(data, batch_size=4), 8, 0)) == 8
    assert torch.equal(data.generator.get_state(), state)
    assert not [warning for warning in recwarn if "bit identity" in str(warning.message)]
