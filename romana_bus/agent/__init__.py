"""The agent of a node. Composes `cni`, `consumers` and `runtime`; only `cli` imports it."""
