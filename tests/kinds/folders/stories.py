"""Texts of unequal length."""

train_set = ["the cat sat on the mat .", "the dog sat .", "the hen sat on the log .", "on the log ."] * 2
test_set = ["the hen sat on the mat .", "the cat ."]
