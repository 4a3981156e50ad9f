"""Reports: what studies found, on a terminal, as one HTML page or as a PDF."""
