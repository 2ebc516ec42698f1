"""The list of the work: every item has one shard, the same in each of them, and no shard waits for another."""

import pytest

from connectivity_hooks.errors import UsageError
from connectivity_hooks.paths import EndPoint
from connectivity_hooks.shards import RecordedMeasuring, RecordedTask, Shard, Way, WorkList, divided, keep_list
from connectivity_hooks.shards.worklist import load

ENDS = (EndPoint("a", "0" * 64, "float32"), EndPoint("b", "1" * 64, "float32"))
TASK = RecordedTask("net.py:make", "digits", "mse", None, None, None, 512, None, "auto", None, "auto", "float32")
QUICK, SLOW = True, False


def work(count, kinds, points=25):
    division = divided(count, kinds, points)
    ways = {f"way{i}": Way(ENDS, {"number": (i,)}, *each) for i, each in enumerate(division)}
    return WorkList("connect", count, ways, TASK, RecordedMeasuring(points, 4, "none", {}), 0, ("a note",))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 30, 10**9])
@pytest.mark.parametrize("kinds", [[QUICK], [SLOW], [QUICK, SLOW], [SLOW, QUICK, SLOW, QUICK], [QUICK] * 6, [SLOW] * 6])
def test_all_shards_together_do_every_item_once(count, kinds):
    whole = work(count, kinds)
    shards = [Shard(number, count) for number in range(1, min(count, 40) + 1)]
    done = [item for shard in shards for item in whole.of(shard)]
    assert sorted(done, key=repr) == sorted(whole.items(), key=repr)
    for name, kind in zip(whole.ways, kinds, strict=True):
        parts = [item.part for item in whole.items() if item.way == name]
        assert parts == list(range(1, whole.ways[name].parts + 1))
        assert kind is QUICK or parts == [1]


def test_ways_are_dealt_out_in_strides_where_there_are_enough():
    assert [item.shard for item in work(3, [QUICK, SLOW, SLOW, QUICK, SLOW]).items()] == [1, 2, 3, 1, 2]


def test_what_takes_long_has_a_shard_of_its_own_and_the_others_divide_the_line():
    items = work(4, [QUICK, SLOW]).items()
    assert [(item.way, item.part, item.parts, item.shard) for item in items] == [
        ("way0", 1, 3, 2),
        ("way0", 2, 3, 3),
        ("way0", 3, 3, 4),
        ("way1", 1, 1, 1),
    ]


def test_shards_share_things_in_strides():
    assert [list(Shard(number, 3).of("abcdefg")) for number in (1, 2, 3)] == [list("adg"), list("be"), list("cf")]
    assert list(Shard(5, 5).of("abc")) == []


@pytest.mark.parametrize("text", ["0/4", "5/4", "a/b", "1", "1/2/3", "٣/4", "1/4\n", "", "1/" + "9" * 5000])
def test_what_is_no_shard_is_refused_in_a_short_line(text):
    with pytest.raises(UsageError, match="expected I/N") as refused:
        Shard.parse(text)
    assert len(str(refused.value)) < 150


def test_the_list_survives_its_file_and_is_written_once(tmp_path):
    whole = work(4, [QUICK, SLOW])
    keep_list(whole, tmp_path)
    file = tmp_path / "shards" / "work.json"
    assert load(file).as_json() == whole.as_json()
    assert load(file).items() == whole.items()
    written = file.stat().st_mtime_ns
    keep_list(whole, tmp_path)
    assert file.stat().st_mtime_ns == written
