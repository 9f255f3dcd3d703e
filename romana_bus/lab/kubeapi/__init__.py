"""A small API server for kubectl, kubelet and watcher; its answers match the recordings byte for byte."""
