"""What several commands use: options, sessions, files, and how things are shown."""
