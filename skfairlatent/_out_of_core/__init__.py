"""Rows that are larger than memory: of Dask, Zarr and HDF5, and in mapped files."""
