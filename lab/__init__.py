"""What a person drives: builds labs out of nodes."""

__version__ = "0.1.0"
