"""Where a study's agents run: processes of this machine, Dask workers, Ray actors; one protocol for all."""
