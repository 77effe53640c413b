"""A declarative provisioner for BPF map-in-map."""

__version__ = "0.1.0"
