"""What the lab needs of the machine: network namespaces, processes, and a directory for each lab."""
