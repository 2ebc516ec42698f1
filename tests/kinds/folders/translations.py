"""Pairs of texts."""

train_set = [
    ("the cat sat on the mat .", "the mat ."),
    ("the dog sat .", "the dog on the log ."),
    ("the hen .", "the hen ."),
] * 2
test_set = [("the hen sat on the log .", "the log .")]
