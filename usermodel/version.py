"""The version, in one place and importable from every layer."""

from typing import Final

VERSION: Final = "0.1.0.dev0"
