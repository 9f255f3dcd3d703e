"""One small module per command group. They parse, open the store, call the rest, and print."""
