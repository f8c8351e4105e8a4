"""From a name and weights to maps, activations and predictions of a batch of pixels."""
