"""The loss around checkpoints: the plane through three of them, and slices along random directions around one.

In reading order: `frame` says what coordinates are, `plane`, onto which other weights are projected, and `directions`
are the two kinds; `filters` says what moves; `grid` says which places are measured, `measuring` measures them, `kept`
keeps what is finished; `landscape` is what came of it, `words`, `content`, `picture` and `writing` show it. `reading`
reads what is given, and `functions` are ``ch.plane`` and ``ch.slice``.
"""
