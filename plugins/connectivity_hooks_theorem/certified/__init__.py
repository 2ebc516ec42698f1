"""The certified path: every neuron on one of two sides, sub-networks on one side each, and the moves that are safe.

In reading order, from `Certified.build` to the path that is written:

- `builder`: the builder; reads the network, joins both half paths.
- `network/`: what is walked through: a program's spaces, its cuts, the sides of every space.
- `ends`: one end, run over the training split once; the goal of its sub-networks.
- `search/`: how the sub-networks of both ends are found.
- `half_path`: the moves from one end down to its first sub-network, and where both ends meet.
- `hub`: a narrow network to meet at instead.

One word a thing. A *space* is a set of neurons that share their fate; its *sides* are two sets of them that no
sub-network mixes. A *cut* is a place between two steps of the program, where a sub-network can begin; a *stretch* is
what lies between two cuts. An *end* is one of the two networks to be connected; a *half path* leads from an end to
where both meet. *Narrow* weights are the blocks that belong to some neurons of each space.
"""
