"""A topology document, read and checked, and the tree of prefixes that follows from it."""
