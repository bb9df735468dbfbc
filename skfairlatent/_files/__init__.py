"""Files: tensors with a digest, and writing that never leaves half a file."""
