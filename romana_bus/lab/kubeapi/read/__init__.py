"""Lists, watches, tables and selectors."""
