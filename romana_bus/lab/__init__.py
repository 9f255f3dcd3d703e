"""A cluster on one machine. From the bottom up: `spec`, its size and addresses; `machine`, namespaces and
processes; `kubeapi`, a small API server; `kubelet`, `scheduler` and `recordings`; `cluster`, which starts and
stops all of it; `inspect`: ping, trace, route counts. Only `cli` imports it.
"""
