"""Models judged by the objects that people drew: the suite hard-imagenet of `evaluate`."""
