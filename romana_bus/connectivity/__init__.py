"""The connectivity test: probe pods that connect to each other, to nodes and to the API server.

Pure: `model`; `choice` of nodes; `checks` to make; `manifests` of the pods, the `script` that they run, and
how far `pods` have come; `diagnosis` of where packets stop; `report`. `cluster` creates, waits, reads and
removes; `leftovers` of tests that were killed; `run` is the test. Only `cli` imports it.
"""
