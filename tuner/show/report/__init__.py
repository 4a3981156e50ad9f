"""Reports on the results of studies: on a terminal, as an HTML page or as a PDF."""
