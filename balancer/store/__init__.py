"""Files that outlive a process: the journal, the health file, atomic replacement."""
