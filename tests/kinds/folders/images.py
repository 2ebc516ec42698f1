"""Images and their classes."""

import numpy

generator = numpy.random.default_rng(0)
train_set = [(generator.integers(256, size=(16, 16, 3), dtype="uint8"), number % 5) for number in range(10)]
test_set = train_set[:5]
