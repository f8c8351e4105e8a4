"""What people look at: preview, plots, card and gallery of a data set."""
