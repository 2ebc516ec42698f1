"""One work divided into shards that need not talk to each other: the jobs of an array, on one machine or on many.

In reading order: `shard` is which of how many; `worklist` says what the work is and who does which part of it, the same
in every shard; `items` are the result files; `doing` is one shard's share; `gathering` reads what all of them left,
and `merging` makes of it what one process would have made.
"""

from connectivity_hooks.shards.doing import do_shard, is_quick
from connectivity_hooks.shards.gathering import Gathered, gather
from connectivity_hooks.shards.merging import merged
from connectivity_hooks.shards.shard import Shard
from connectivity_hooks.shards.worklist import Item, RecordedMeasuring, RecordedTask, Way, WorkList, divided, keep_list

__all__ = [
    "Gathered",
    "Item",
    "RecordedMeasuring",
    "RecordedTask",
    "Shard",
    "Way",
    "WorkList",
    "divided",
    "do_shard",
    "gather",
    "is_quick",
    "keep_list",
    "merged",
]
