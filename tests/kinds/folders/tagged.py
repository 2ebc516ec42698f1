"""Sentences with a tag for each word; what begins a sentence has none."""

train_set = [("the cat sat on the mat .", [0, 1, 2, 0, 0, 1, 0]), ("the dog sat .", [0, 1, 2, 0])] * 3
test_set = [("the hen sat on the log .", [0, 1, 2, 0, 0, 1, 0])]
