"""The offline builder of Salient ImageNet-1M: from ImageNet images to a dataset directory."""
