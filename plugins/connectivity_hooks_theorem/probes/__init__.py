"""Linear probes: multinomial logistic regression on many subsets of features at once."""
