"""From a source of images to batches of pixels, in a fixed order."""
