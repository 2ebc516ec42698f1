"""A half path: from one end down to the state in which its first sub-network does all the work, and where both meet."""

from __future__ import annotations

from connectivity_hooks.errors import ConnectivityError
from connectivity_hooks.paths import CONSTANT, CONVEX, Edit, Guarantee, Weights, edits_between
from connectivity_hooks_theorem.certified.network.blocks import neurons_read, write_blocks
from connectivity_hooks_theorem.certified.network.network import Network
from connectivity_hooks_theorem.certified.network.stretch import Stretch
from connectivity_hooks_theorem.certified.network.subnetwork import Subnetwork

MEETING = (CONSTANT, CONVEX, CONSTANT)


class HalfPath:
    """Points and guarantees from one end; each step switches to the sub-network of the cut before.

    A step (arXiv 2102.09671): the sub-network is written into neurons nobody reads (constant), and the output layer is
    switched to it (convex). What nobody reads then stays where it is, so that a later sub-network that shares layers
    with one before it need not write them again.

    Only the last point and the blocks that change are held, so memory is that of the path on disk.

    Args:
        network: The network.
        weights: The end's weights.
        reverse: Whether the path arrives at this end, so that the edits lead back to it.

    Attributes:
        last: The last point.
        edits: For each segment the edits, in the path's direction.
        guarantees: For each segment its guarantee.
    """

    def __init__(self, network: Network, weights: Weights, *, reverse: bool) -> None:
        self._network = network
        self._reverse = reverse
        self._now = dict(weights)
        self.last = dict(weights)
        self.edits: list[tuple[Edit, ...]] = []
        self.guarantees: list[Guarantee] = []

    def step(self, subnetwork: Subnetwork) -> None:
        """Switch to a sub-network; they come in falling order of their cuts."""
        hidden = Stretch(self._network, subnetwork.cut).hidden
        if hidden:
            write_blocks(self._now, subnetwork.weights, hidden, subnetwork.neurons)
            self._push(CONSTANT)
        write_blocks(self._now, subnetwork.weights, [self._network.output], subnetwork.neurons)
        self._push(CONVEX)

    def arrive(self, weights: Weights) -> None:
        """Take the values of `weights` where they differ: in neurons nobody reads, and tensors nobody uses."""
        self._now = dict(weights)
        self._push(CONSTANT)

    def _push(self, guarantee: Guarantee) -> None:
        now = dict(self._now)
        self.edits.append(edits_between(now, self.last) if self._reverse else edits_between(self.last, now))
        self.guarantees.append(guarantee)
        self.last = now


def meeting(network: Network, left: Weights, right: Weights) -> tuple[Weights, Weights]:
    """Return the points where both ends' last states stand side by side, read by the left's output, then the right's.

    `MEETING` holds the guarantees of the segments from the left's last point over these to the right's.

    Raises:
        ConnectivityError: Both use the same neuron.
    """
    mine, theirs = neurons_read(left, network), neurons_read(right, network)
    both = dict(left)
    for layer in Stretch(network, 0).hidden:
        wanted = theirs[layer.step.name]
        if bool((mine[layer.step.name] & wanted).any()):
            raise ConnectivityError(f"builder certified: both ends use the same neurons of {layer.step.weights}")
        entries = layer.rows.entries(wanted.nonzero().flatten())
        for name in layer.step.weights.values():
            full = both[name].clone()
            full[entries] = right[name][entries]
            both[name] = full
    return both, {**both, **{name: right[name] for name in network.output.step.weights.values()}}
