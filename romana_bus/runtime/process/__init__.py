"""A process: its signals, its log, and what libraries write to its stderr."""
