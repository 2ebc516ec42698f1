"""States and copies: what is restored is what was saved, and copies differ in their noise alone."""

import random

import numpy as np
import pytest
import torch
from torch import nn

import connectivity_hooks as ch
from connectivity_hooks.errors import InputError, UsageError


def same(a, b):
    return all(torch.equal(a.state_dict()[name], tensor) for name, tensor in b.state_dict().items())


def test_weights_moments_and_schedule_come_back(training, tmp_path):
    training.trunk(tmp_path, (40,))
    model, optimizer, scheduler = training.build()
    ch.copies(tmp_path)[0].restore(model, optimizer=optimizer, scheduler=scheduler)
    assert {int(state["step"]) for state in optimizer.state.values()} == {40}
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.02 * 0.3)
    assert scheduler.last_epoch == 40
    assert int(model.state_dict()["1.num_batches_tracked"]) == 40


def test_a_restored_training_goes_on_as_the_uninterrupted_one(training, tmp_path):
    model, optimizer, scheduler = parts = training.build()
    torch.manual_seed(3)
    training.train(parts, torch.Generator().manual_seed(0), range(35))
    ch.save_start(tmp_path, 35, model, optimizer=optimizer, scheduler=scheduler)
    other = training.build()
    (copy,) = ch.copies(tmp_path, seeds=[5])
    copy.restore(other[0], optimizer=other[1], scheduler=other[2])
    for each in (parts, other):
        torch.manual_seed(4)
        training.train(each, torch.Generator().manual_seed(1), range(35, 60))
    assert same(model, other[0])
    assert scheduler.state_dict() == other[2].state_dict()


def noise():
    return random.random(), np.random.rand(), float(torch.rand(()))


def test_copies_differ_in_their_noise_alone(training, tmp_path):
    training.trunk(tmp_path, (0, 20))
    copies = ch.copies(tmp_path)
    assert [(copy.step, copy.seed) for copy in copies] == [(0, 1), (0, 2), (20, 1), (20, 2)]
    orders, draws, starts = [], [], []
    for copy in copies:
        model, optimizer, scheduler = training.build()
        copy.restore(model, optimizer=optimizer, scheduler=scheduler)
        orders.append(tuple(torch.randperm(20, generator=copy.generator).tolist()))
        draws.append(noise())
        starts.append(model)
    assert len(set(orders)) == len({copy.noise_seed for copy in copies}) == 4
    assert all(len(set(column)) == 4 for column in zip(*draws, strict=True))
    assert same(starts[2], starts[3])
    assert not same(starts[0], starts[2])


def test_every_global_generator_is_seeded_with_the_noise_of_the_copy(training, tmp_path):
    training.trunk(tmp_path, (0,))
    model, optimizer, scheduler = training.build()
    draws = []
    for copy in (*ch.copies(tmp_path), *ch.copies(tmp_path)):
        copy.restore(model, optimizer=optimizer, scheduler=scheduler)
        draws.append(noise())
        noise()
    assert draws[:2] == draws[2:]


def test_a_copy_is_the_same_whatever_ran_before(training, tmp_path):
    training.trunk(tmp_path, (10,))
    first = training.finish(ch.copies(tmp_path, seeds=[2])[0])
    (tmp_path / "k_00000010" / "seed_2.safetensors").unlink()
    torch.rand(17)
    again = training.finish(ch.copies(tmp_path, seeds=(1, 2))[1])
    assert same(first, again)


def test_finished_copies_are_left_out(training, tmp_path):
    training.trunk(tmp_path, (0, 20))
    training.finish(ch.copies(tmp_path, k=20)[0])
    assert [(copy.step, copy.seed) for copy in ch.copies(tmp_path)] == [(0, 1), (0, 2), (20, 2)]
    training.trunk(tmp_path, (0, 20))  # the same states again: the copies are still of them
    assert [(copy.step, copy.seed) for copy in ch.copies(tmp_path, k=[20])] == [(20, 2)]


def test_a_copy_of_another_state_does_not_count_as_finished(training, tmp_path):
    training.trunk(tmp_path, (20,))
    training.finish(ch.copies(tmp_path)[0])
    model, optimizer, scheduler = training.build()
    ch.save_start(tmp_path, 20, model, optimizer=optimizer, scheduler=scheduler)
    with pytest.raises(InputError, match=r"seed_1\.safetensors: grew from another state"):
        ch.copies(tmp_path)


def test_a_state_that_differs_beside_the_weights_is_another_state(training, tmp_path):
    model, optimizer, _ = training.build()
    ch.save_start(tmp_path, 0, model, optimizer=optimizer)
    ch.copies(tmp_path)[0].save(model)
    optimizer.param_groups[0]["lr"] = 0.5
    ch.save_start(tmp_path, 0, model, optimizer=optimizer)
    with pytest.raises(InputError, match="grew from another state"):
        ch.copies(tmp_path)


def test_state_and_weights_of_two_savings_are_not_mixed(training, tmp_path):
    model, optimizer, scheduler = training.build()
    ch.save_start(tmp_path / "a", 0, model, optimizer=optimizer, scheduler=scheduler)
    optimizer.param_groups[0]["lr"] = 0.5
    ch.save_start(tmp_path / "b", 0, model, optimizer=optimizer, scheduler=scheduler)
    state = "k_00000000/start.state.pt"
    (tmp_path / "b" / state).replace(tmp_path / "a" / state)
    with pytest.raises(InputError, match=r"does not belong to start\.safetensors"):
        ch.copies(tmp_path / "a")[0].restore(model, optimizer=optimizer, scheduler=scheduler)


def test_what_was_saved_must_be_given_back(training, tmp_path):
    training.trunk(tmp_path, (0,))
    model, optimizer, _ = training.build()
    with pytest.raises(UsageError, match="optimizer, scheduler were saved at step 0, optimizer given"):
        ch.copies(tmp_path)[0].restore(model, optimizer=optimizer)


def test_a_state_of_another_optimizer_is_refused_in_one_line(training, tmp_path):
    model, optimizer, _ = training.build()
    ch.save_start(tmp_path, 0, model, optimizer=optimizer)
    other = torch.optim.SGD([{"params": [p]} for p in model.parameters()], 0.1)
    with pytest.raises(InputError, match="the state of optimizer does not fit the optimizer given") as found:
        ch.copies(tmp_path)[0].restore(model, optimizer=other)
    assert "\n" not in str(found.value)


def test_a_state_of_another_model_is_refused(training, tmp_path):
    training.trunk(tmp_path, (0,))
    _, optimizer, scheduler = training.build()
    with pytest.raises(InputError, match="does not fit the model"):
        ch.copies(tmp_path)[0].restore(nn.Linear(3, 2), optimizer=optimizer, scheduler=scheduler)


class Code:
    def state_dict(self):
        return {"rate": Code()}

    def load_state_dict(self, state):
        pass


class Unpicklable(Code):
    def state_dict(self):
        return {"rate": lambda: 1}


@pytest.mark.parametrize("kind", [Code, Unpicklable])
def test_a_state_that_is_code_is_refused_when_it_is_saved(tmp_path, kind):
    with pytest.raises(InputError, match=r"start\.state\.pt"):
        ch.save_start(tmp_path, 0, nn.Linear(2, 2), thing=kind())
    assert not (tmp_path / "k_00000000" / "start.safetensors").exists()
    with pytest.raises(InputError, match=r"holds no start\.safetensors"):
        ch.copies(tmp_path)


def test_a_state_never_runs_code_when_it_is_read(training, tmp_path):
    model, optimizer, _ = training.build()
    ch.save_start(tmp_path, 0, model, optimizer=optimizer)
    place = tmp_path / "k_00000000"
    torch.save({"optimizer": Code()}, place / "start.state.pt")
    with pytest.raises(InputError, match=r"start\.state\.pt"):
        ch.copies(tmp_path)[0].restore(model, optimizer=optimizer)


@pytest.mark.parametrize(
    "schedule",
    [
        lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=20),
        lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda step: 0.9**step),
        lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o),
        lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [2, 2, 5]),
        lambda o: torch.optim.lr_scheduler.SequentialLR(
            o,
            [torch.optim.lr_scheduler.LinearLR(o), torch.optim.lr_scheduler.CosineAnnealingLR(o, 9)],
            milestones=[2],
        ),
    ],
    ids=["one-cycle", "lambda", "plateau", "multi-step", "sequential"],
)
def test_schedules_survive_the_file(tmp_path, schedule):
    def made():
        model = nn.Linear(2, 2)
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        return model, optimizer, schedule(optimizer)

    def rates(optimizer, scheduler):
        found = []
        for step in range(8):
            optimizer.step()
            scheduler.step(*([1.0 + step] if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau) else []))
            found.append(optimizer.param_groups[0]["lr"])
        return found

    model, optimizer, scheduler = made()
    rates(optimizer, scheduler)
    ch.save_start(tmp_path, 8, model, optimizer=optimizer, scheduler=scheduler)
    fresh, other, again = made()
    ch.copies(tmp_path)[0].restore(fresh, optimizer=other, scheduler=again)
    assert rates(other, again) == rates(optimizer, scheduler)


@pytest.mark.parametrize("seeds", [(), (1, 1), (-1, 2)])
def test_seeds_that_make_no_different_copies_are_wrong_usage(training, tmp_path, seeds):
    training.trunk(tmp_path, (0,))
    with pytest.raises(UsageError, match="different seeds"):
        ch.copies(tmp_path, seeds=seeds)


def test_wrong_steps_and_things_without_state_are_named(training, tmp_path):
    model, _, _ = training.build()
    with pytest.raises(UsageError, match="step ≥ 0, found -1"):
        ch.save_start(tmp_path, -1, model)
    with pytest.raises(UsageError, match="rate is a float"):
        ch.save_start(tmp_path, 0, model, rate=0.1)
    training.trunk(tmp_path, (0,))
    with pytest.raises(InputError, match="no state of step 7, only of 0"):
        ch.copies(tmp_path, k=7)
    with pytest.raises(InputError, match="cannot be read"):
        ch.copies(tmp_path / "nowhere")


def test_wrapped_models_are_saved_and_restored_under_their_own_names(training, tmp_path):
    model, optimizer, _ = training.build()
    ch.save_start(tmp_path, 0, nn.DataParallel(model), optimizer=optimizer)
    fresh, other, _ = training.build()
    with torch.no_grad():
        fresh[0].weight.zero_()
    ch.copies(tmp_path)[0].restore(nn.DataParallel(fresh), optimizer=other)
    assert same(model, fresh)
