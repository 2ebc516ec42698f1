"""Images and their captions."""

import numpy

generator = numpy.random.default_rng(0)
captions = ["the cat sat .", "the dog sat on the mat .", "the hen .", "on the log .", "the mat .", "the dog ."]
train_set = [(generator.integers(256, size=(16, 16, 3), dtype="uint8"), text) for text in captions]
test_set = train_set[:4]
