"""Files: tensors with a digest, plain JSON, and writing that never leaves half a file."""
