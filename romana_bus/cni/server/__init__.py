"""The agent's CNI server: calls, attachments, and the events about sandboxes for the log."""
