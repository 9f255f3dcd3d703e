"""The lab's network namespaces, processes and directory on the machine."""
