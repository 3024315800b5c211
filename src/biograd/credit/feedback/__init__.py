"""The weight that errors travel back through, in any module."""
