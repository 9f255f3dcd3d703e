"""A small API server: what kubectl, kubelet and watcher need, held byte for byte to the recordings."""
