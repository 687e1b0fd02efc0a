"""What all other packages share: errors, files, types, worker processes, names."""
