"""The monitor: one process that looks when the kernel changes, checks whether the links' providers work, and tells
others how the links are."""
