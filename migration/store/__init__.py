"""What the processes of a machine keep in SQLite."""
