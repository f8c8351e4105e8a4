"""Objects that people drew, added to a data set: the command `segmentations`."""
