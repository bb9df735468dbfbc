"""What the flow is given: standardised embeddings and, for tables, scores of the label."""
