"""The certified path: a program's neurons cut in two, sub-networks on one side, and the moves that are safe."""
