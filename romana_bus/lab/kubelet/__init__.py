"""A stand-in for the kubelet and its container runtime: a pod is a network namespace.

    node       pure: the Node object and its status
    pods       pure: which pods should run, and their status
    sandboxes  the pods' namespaces, with a record of each on disk, and the calls of CNI
    static     pods from a directory of manifests, and their mirror pods
    kubelet    the loops that connect these

Containers are not run; a pod that has its network is running and ready.
"""
