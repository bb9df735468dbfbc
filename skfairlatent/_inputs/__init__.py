"""The input of the flow: standardised embeddings and, for tables, scores of the label."""
