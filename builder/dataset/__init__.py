"""What is published: its layout and columns, the manifest, the votes, the scores."""
