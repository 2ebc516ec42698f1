"""Sentences and their classes, as text."""

train_set = [
    ("the cat sat on the mat .", 0),
    ("the dog sat .", 1),
    ("the hen sat on the log .", 0),
    ("on the log .", 1),
] * 3
test_set = [("the hen sat on the mat .", 1), ("the cat .", 0)]
