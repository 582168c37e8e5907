"""How data lies on a disk: one module a layout, each giving the same `Manifest`."""
