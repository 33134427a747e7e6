"""Which domains help which: predicted before training, or measured."""
