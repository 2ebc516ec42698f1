"""A network as the theorem sees it. Nothing here trains anything.

In reading order:

- `network`: spaces, axes, layers: whose neurons are whose.
- `reading`: makes one of a program, or names the first obstacle.
- `cuts`: the places in a program where a sub-network can begin.
- `sides`: two sides of every space, and which of them a sub-network lives on.
- `values`: features at a cut, of all samples or some, of all neurons or some.
- `stretch`: what lies between two cuts, run under any weights.
- `blocks`: narrow weights, taken from a network and written into one; which neurons are read.
- `subnetwork`: what the search hands back.
"""
