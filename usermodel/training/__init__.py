"""The training loop: the only importer of lightning_fabric."""
