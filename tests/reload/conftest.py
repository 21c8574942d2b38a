"""What a reload needs of other folders' fixtures."""

from tests.plugins.test_change import source

__all__ = ["source"]
