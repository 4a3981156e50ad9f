"""Where to look next and when to stop: samplers, pruners, stopping rules, and which trials are best."""
