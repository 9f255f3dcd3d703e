"""Changes by an operator: a new topology document with its plan and evictions, and reserved ranges."""
