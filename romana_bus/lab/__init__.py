"""A cluster on one machine. From below: `spec`, what is wanted; `machine`, namespaces and processes;
`kubeapi`, a small API server, and `kubeclient`, its client; `kubelet`, `scheduler` and `recordings`;
`cluster`, all of it together; `inspect`, ping, trace and counts. Only `cli` imports it.
"""
