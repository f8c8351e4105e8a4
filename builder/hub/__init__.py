"""Publication of a data set on the Hugging Face Hub."""
